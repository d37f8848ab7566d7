package agent

import (
	"context"
	"errors"
	"time"

	"codedeploy-agent/internal/codedeploy"
)

// How long a call before the work is insisted on. The service gives up on an event that has not started after about
// five minutes.
const (
	networkPatience = 5 * time.Minute
	serverPatience  = 30 * time.Second
	firstRetry      = 200 * time.Millisecond
	longestRetry    = 5 * time.Second
)

// insist repeats a call until it succeeds, is refused for good, or patience ends. It returns errLeft when the agent
// leaves meanwhile.
func (a *Agent) insist(call func(context.Context) error) error {
	began := time.Now()
	for wait := firstRetry; ; wait = min(2*wait, longestRetry) {
		err := call(a.leaving)
		if err == nil {
			return nil
		}
		if a.leaving.Err() != nil {
			return errLeft
		}
		patience := networkPatience
		switch codedeploy.KindOf(err) {
		case codedeploy.ClientFault:
			return err
		case codedeploy.ServerFault:
			patience = serverPatience
		}
		if time.Since(began) > patience {
			return err
		}
		if !sleep(a.leaving, max(wait, codedeploy.RetryAfter(err))) {
			return errors.Join(errLeft, err)
		}
	}
}
