// Package appspec reads AppSpec files: the appspec.yml in which a CodeDeploy revision for EC2 or on-premises
// Linux hosts says which files go where, with which permissions, and which scripts run at which event.
//
//	version: 0.0
//	os: linux
//	files:
//	  - source: /
//	    destination: /var/www/html
//	permissions:
//	  - object: /var/www/html
//	    owner: www-data
//	    mode: 644
//	    type: [file]
//	hooks:
//	  ApplicationStart:
//	    - location: scripts/start.sh
//	      timeout: 300
//
// [Parse] returns what the file says together with everything there is to say about it, each finding with line,
// column, key and remedy:
//
//	spec, findings := appspec.Parse("appspec.yml", data)
//	for _, finding := range findings {
//		fmt.Println(finding) // appspec.yml:12:7: error: hooks.ApplicationStart[0].localtion: ...
//	}
//	if err := findings.Err(); err != nil {
//		return err // no CodeDeploy agent deploys this file
//	}
//
// An error is what the CodeDeploy agent refuses; everything else that looks wrong is a warning and changes
// nothing. Reading follows the official agent 1.x, whose YAML is version 1.1 as Ruby understands it, and is more
// lenient where real files need it. docs/appspec.md lists the grammar, the leniencies and every finding.
//
// [Load] finds the file in an unpacked revision first. No function follows a link out of the revision, expands an
// alias without bound or crashes on foreign bytes.
package appspec
