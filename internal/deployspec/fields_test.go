package deployspec

const specText = `{
  "DeploymentId": "arn:aws:codedeploy:eu-west-1:123456789012:deployment/d-ABCDEF123",
  "DeploymentGroupId": "11111111-2222-3333-4444-555555555555",
  "DeploymentGroupName": "web",
  "ApplicationName": "shop",
  "Revision": {"RevisionType": "S3", "S3Revision": {"Bucket": "b", "Key": "k.zip", "BundleType": "zip", "ETag": null}}
}`
