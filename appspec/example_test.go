package appspec_test

import (
	"fmt"

	"codedeploy-agent/appspec"
)

func ExampleParse() {
	spec, findings := appspec.Parse("appspec.yml", []byte(`
version: 0.0
os: linux
files:
  - source: /
    destination: /var/www/html
hooks:
  ApplicationStart:
    - location: scripts/start.sh
      timeout: 300
`))
	if err := findings.Err(); err != nil {
		fmt.Println(err)
		return
	}
	for _, script := range spec.Hooks["ApplicationStart"] {
		fmt.Println(script.Location, script.Timeout)
	}
	// Output: scripts/start.sh 5m0s
}

func ExampleParse_findings() {
	_, findings := appspec.Parse("appspec.yml", []byte(`version: 0.0
os: linux
hooks:
  Before Install:
    - localtion: scripts/stop.sh
    - location: scripts/clean.sh
      timeout: 2h
`))
	for _, finding := range findings {
		fmt.Println(finding)
	}
	// Output:
	// appspec.yml:4:3: warning: hooks."Before Install": the service calls no event of this name (did you mean "BeforeInstall"?)
	// appspec.yml:5:7: error: hooks."Before Install"[0].localtion: "location" is missing, and "localtion" is not a key (did you mean "location"?)
	// appspec.yml:7:16: warning: hooks."Before Install"[1].timeout: "2h" is read as 2 seconds (write whole seconds, for example timeout: 300)
}
