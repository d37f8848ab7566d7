package codedeploy

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// fipsRegions are the only ones with endpoints of FIPS 140 validated modules.
var fipsRegions = []string{"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-west-1", "us-gov-east-1"}

var (
	validRegion = regexp.MustCompile(`^[a-z][a-z0-9-]{1,31}$`)
	// A zone is a region with a letter behind, a Local Zone has a place of its own before that letter.
	zone = regexp.MustCompile(`^([a-z]+(?:-[a-z]+)+-\d+)(?:-[a-z]+-\d+)?[a-z]$`)
)

// CheckRegion tells whether a name can be a region. An Availability Zone (eu-west-1a) is the usual mistake.
func CheckRegion(region string) error {
	if region == "" {
		return fmt.Errorf("cannot work without a region; it comes from the instance metadata, the on-premises file or AWS_REGION")
	}
	if !validRegion.MatchString(region) {
		return fmt.Errorf("cannot use %q as a region; one looks like \"eu-west-1\"", region)
	}
	if m := zone.FindStringSubmatch(region); m != nil {
		return fmt.Errorf("cannot use %q as a region: it is an Availability Zone of region %q", region, m[1])
	}
	return nil
}

// Domain returns the domain that the services of a region lie in, for hosts whose metadata do not say.
func Domain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return "amazonaws.eu"
	}
	return "amazonaws.com"
}

// dualStackDomains are the domains whose names have IPv6 addresses, too.
var dualStackDomains = map[string]string{
	"amazonaws.com":    "api.aws",
	"amazonaws.com.cn": "api.amazonwebservices.com.cn",
	"amazonaws.eu":     "api.amazonwebservices.eu",
}

// Endpoint returns where the Commands service of a region is. An empty domain stands for the region's usual one.
// secure selects the service that VPC endpoints need and that checks IAM policies (key enable_auth_policy).
func Endpoint(region, domain string, secure, fips, dualStack bool) (*url.URL, error) {
	if err := CheckRegion(region); err != nil {
		return nil, err
	}
	if domain == "" {
		domain = Domain(region)
	}
	service := serviceName(secure)
	if fips {
		if !slices.Contains(fipsRegions, region) {
			return nil, fmt.Errorf("cannot use FIPS endpoints in %q: only %s have them (key use_fips_mode)", region, strings.Join(fipsRegions, ", "))
		}
		service += "-fips"
	}
	if dualStack {
		other, ok := dualStackDomains[domain]
		if !ok {
			return nil, fmt.Errorf("cannot use dual-stack endpoints in the domain %q (key use_dual_stack)", domain)
		}
		domain = other
	}
	return &url.URL{Scheme: "https", Host: service + "." + region + "." + domain, Path: "/"}, nil
}

// serviceName is the first label of the host name and the name that requests are signed for.
func serviceName(secure bool) string {
	if secure {
		return "codedeploy-commands-secure"
	}
	return "codedeploy-commands"
}
