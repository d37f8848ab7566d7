package codedeploy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Limits of what a clock may be off. The service refuses signatures that are more than five minutes off.
const (
	maxSkew = 5 * time.Minute
	// noSkew is what full seconds and slow networks account for.
	noSkew = time.Minute
)

// clock is this host's clock as the service sees it.
type clock struct {
	offset atomic.Int64
	log    *zap.Logger
}

// now is the time to sign with.
func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// learn compares the answer's date with this host's clock. It corrects the signing time when the clock is off too far
// or the service has said so, and returns true when that makes a refused request worth another attempt.
func (c *clock) learn(h http.Header, arrived time.Time, refused *Error) (again bool) {
	if refused != nil && refused.Code == "" {
		return false // whoever answered is not the service
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return false
	}
	skew := date.Sub(arrived)
	before := time.Duration(c.offset.Load())
	complaint := refused != nil && isClockComplaint(refused)
	switch {
	case skew.Abs() <= noSkew && before != 0:
		c.set(0)
		c.log.Info("clock: this host's clock is right again")
	case skew.Abs() > maxSkew && (skew-before).Abs() > noSkew,
		complaint && skew.Abs() > noSkew && (skew-before).Abs() > noSkew:
		c.set(skew)
		c.log.Warn("clock: this host's clock is wrong; requests are signed with the service's time; check the time service (chronyd, systemd-timesyncd)",
			zap.Duration("clock_skew", skew.Round(time.Second)))
	default:
		return false
	}
	return complaint
}

func (c *clock) set(offset time.Duration) { c.offset.Store(int64(offset)) }

// isClockComplaint tells whether the service has refused a signature because of its time.
func isClockComplaint(e *Error) bool {
	switch e.Code {
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return true
	case "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure":
		m := strings.ToLower(e.Message)
		return strings.Contains(m, "expired") || strings.Contains(m, "not yet current") || strings.Contains(m, "skew")
	}
	return false
}

// ClockSkew is how far this host's clock is behind the service's; 0 when it is right, or right enough.
func (c *Client) ClockSkew() time.Duration { return time.Duration(c.clock.offset.Load()) }
