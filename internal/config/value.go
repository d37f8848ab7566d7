package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// advice is an error that is worth a warning only; the value is used.
type advice string

func (a advice) Error() string { return string(a) }

// errForm says that a value does not have the form of its key.
var errForm = errors.New("form")

func text(name, form string, at func(*Config) *string) key {
	return key{name: name, form: form,
		read: func(c *Config, value string) error { *at(c) = value; return nil },
		show: func(c *Config) string { return *at(c) },
	}
}

func checked(name, form string, at func(*Config) *string, check func(value string) error) key {
	k := text(name, form, at)
	k.read = func(c *Config, value string) error {
		err := check(value)
		if err == nil || errors.As(err, new(advice)) {
			*at(c) = value
		}
		return err
	}
	return k
}

func path(name string, at func(*Config) *string) key {
	return checked(name, "an absolute path", at, func(value string) error {
		if !filepath.IsAbs(value) {
			return advice(fmt.Sprintf("%q is a relative path; it depends on where the agent is started", value))
		}
		return nil
	})
}

func component(name string, at func(*Config) *string) key {
	return checked(name, "a name without slashes", at, func(value string) error {
		if value != filepath.Base(value) || strings.HasPrefix(value, ".") {
			return errForm
		}
		return nil
	})
}

func oneOf(name string, at func(*Config) *string, values ...string) key {
	var quoted []string
	for _, v := range values {
		quoted = append(quoted, strconv.Quote(v))
	}
	return checked(name, strings.Join(quoted, " or "), at, func(value string) error {
		if !slices.Contains(values, value) {
			return errForm
		}
		return nil
	})
}

var validSlice = regexp.MustCompile(`^[A-Za-z0-9:_.\\-]+\.slice$`)

func slice(name string, at func(*Config) *string) key {
	return checked(name, `the name of a systemd slice, like "deployments.slice"`, at, func(value string) error {
		if !validSlice.MatchString(value) || len(value) > 200 {
			return errForm
		}
		return nil
	})
}

// address is a URL; a bare host name stands for https.
func address(name string, at func(*Config) *string) key {
	k := text(name, "a URL with http or https", at)
	k.read = func(c *Config, value string) error {
		if !strings.Contains(value, "://") {
			value = "https://" + value
		}
		u, err := url.Parse(value)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return errForm
		}
		*at(c) = value
		if u.Scheme == "http" && !isLoopback(u.Hostname()) {
			return advice("what goes over http can be read and changed on its way; use https")
		}
		return nil
	}
	return k
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// proxy is the URL of a proxy; a bare host and port stands for http.
func proxy(name string, at func(*Config) *string) key {
	return key{name: name, form: `a URL like "http://proxy.example.com:3128"`,
		read: func(c *Config, value string) error {
			if !strings.Contains(value, "://") {
				value = "http://" + value
			}
			u, err := url.Parse(value)
			if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
				return errForm
			}
			if _, port, err := net.SplitHostPort(u.Host); err == nil && port == "" {
				return errForm
			}
			*at(c) = value
			return nil
		},
		show: func(c *Config) string {
			u, err := url.Parse(*at(c))
			if err != nil {
				return ""
			}
			return u.Redacted()
		},
	}
}

func flag(name string, at func(*Config) *bool) key {
	return key{name: name, form: "true or false",
		read: func(c *Config, value string) error { return readFlag(at(c), value) },
		show: func(c *Config) string { return strconv.FormatBool(*at(c)) },
	}
}

// readFlag takes what YAML 1.1 takes, in quotes or not.
func readFlag(to *bool, value string) error {
	switch strings.ToLower(value) {
	case "true", "yes", "on", "y", "1":
		*to = true
	case "false", "no", "off", "n", "0":
		*to = false
	default:
		return errForm
	}
	return nil
}

func number(name string, at func(*Config) *int64) key {
	return key{name: name, form: "a whole number from 1 on",
		read: func(c *Config, value string) error { return readNumber(at(c), value, 1, math.MaxInt64) },
		show: func(c *Config) string { return strconv.FormatInt(*at(c), 10) },
	}
}

func readNumber(to *int64, value string, least, most int64) error {
	n, err := strconv.ParseInt(strings.ReplaceAll(value, "_", ""), 10, 64)
	if err != nil || n < least || n > most {
		return errForm
	}
	*to = n
	return nil
}

func size(name string, at func(*Config) *int64) key {
	return key{name: name, form: `a number of bytes, or one with a unit like "4GB" or "1GiB"`,
		read: func(c *Config, value string) error { return readSize(at(c), value) },
		show: func(c *Config) string { return strconv.FormatInt(*at(c), 10) },
	}
}

var sizeUnits = map[string]int64{
	"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

func readSize(to *int64, value string) error {
	digits := strings.TrimRight(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, ok := sizeUnits[strings.ToLower(strings.TrimSpace(value[len(digits):]))]
	var n int64
	if !ok || readNumber(&n, digits, 0, math.MaxInt64/unit) != nil {
		return errForm
	}
	*to = n * unit
	return nil
}

// seconds is a duration: seconds, also with a decimal point, or a number with one of the units s, m, h and d. What is
// out of bounds is brought back to them.
func seconds(name string, least, most time.Duration, at func(*Config) *time.Duration) key {
	return key{name: name, form: `a number of seconds, or one with a unit like "90s", "30m", "12h" or "7d"`,
		read: func(c *Config, value string) error {
			d, ok := readDuration(value)
			if !ok {
				return errForm
			}
			*at(c) = min(max(d, least), most)
			if *at(c) != d {
				return advice(fmt.Sprintf("%s is out of bounds; %s seconds are used", value, showSeconds(*at(c))))
			}
			return nil
		},
		show: func(c *Config) string { return showSeconds(*at(c)) },
	}
}

func readDuration(value string) (time.Duration, bool) {
	unit := time.Second
	if n := len(value) - 1; n > 0 {
		if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[value[n]]; ok {
			value, unit = value[:n], u
		}
	}
	if strings.Trim(value, "0123456789._") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(value, "_", ""), 64)
	if err != nil || n > 1e10 {
		return 0, false
	}
	if n *= float64(unit); n > math.MaxInt64/2 {
		return math.MaxInt64 / 2, true
	}
	return time.Duration(n), true
}

func showSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
