package codedeploy

import "testing"

func TestEndpoints(t *testing.T) {
	for _, tc := range []struct {
		region, domain          string
		secure, fips, dualStack bool
		want                    string
	}{
		{"eu-west-1", "", false, false, false, "https://codedeploy-commands.eu-west-1.amazonaws.com/"},
		{"eu-west-1", "amazonaws.com", true, false, false, "https://codedeploy-commands-secure.eu-west-1.amazonaws.com/"},
		{"us-gov-west-1", "", false, true, false, "https://codedeploy-commands-fips.us-gov-west-1.amazonaws.com/"},
		{"us-east-1", "", true, true, false, "https://codedeploy-commands-secure-fips.us-east-1.amazonaws.com/"},
		{"cn-north-1", "", false, false, false, "https://codedeploy-commands.cn-north-1.amazonaws.com.cn/"},
		{"eusc-de-east-1", "", false, false, false, "https://codedeploy-commands.eusc-de-east-1.amazonaws.eu/"},
		{"us-iso-east-1", "c2s.ic.gov", false, false, false, "https://codedeploy-commands.us-iso-east-1.c2s.ic.gov/"},
		{"eu-west-1", "", false, false, true, "https://codedeploy-commands.eu-west-1.api.aws/"},
		{"cn-north-1", "", true, false, true, "https://codedeploy-commands-secure.cn-north-1.api.amazonwebservices.com.cn/"},
	} {
		u, err := Endpoint(tc.region, tc.domain, tc.secure, tc.fips, tc.dualStack)
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		if u.String() != tc.want {
			t.Errorf("got %s, want %s", u, tc.want)
		}
	}
}

func TestEndpointsThatDoNotExist(t *testing.T) {
	for _, tc := range []struct {
		region, domain  string
		fips, dualStack bool
		want            string
	}{
		{"", "", false, false, "cannot work without a region; it comes from the instance metadata, the on-premises file or AWS_REGION"},
		{"eu-west-1a", "", false, false, `cannot use "eu-west-1a" as a region: it is an Availability Zone of region "eu-west-1"`},
		{"us-gov-west-1b", "", false, false, `cannot use "us-gov-west-1b" as a region: it is an Availability Zone of region "us-gov-west-1"`},
		{"us-west-2-lax-1a", "", false, false, `cannot use "us-west-2-lax-1a" as a region: it is an Availability Zone of region "us-west-2"`},
		{"Ireland", "", false, false, `cannot use "Ireland" as a region; one looks like "eu-west-1"`},
		{"x.example.com/", "", false, false, `cannot use "x.example.com/" as a region; one looks like "eu-west-1"`},
		{"eu-west-1", "", true, false, `cannot use FIPS endpoints in "eu-west-1": only us-east-1, us-east-2, us-west-1, us-west-2, us-gov-west-1, us-gov-east-1 have them (key use_fips_mode)`},
		{"us-iso-east-1", "c2s.ic.gov", false, true, `cannot use dual-stack endpoints in the domain "c2s.ic.gov" (key use_dual_stack)`},
	} {
		_, err := Endpoint(tc.region, tc.domain, false, tc.fips, tc.dualStack)
		if err == nil || err.Error() != tc.want {
			t.Errorf("error %v\nwant %s", err, tc.want)
		}
	}
}
