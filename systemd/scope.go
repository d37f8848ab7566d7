package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// ErrScopeExists is returned by StartScope when a unit of that name is known already.
var ErrScopeExists = errors.New("a unit of this name exists")

// ErrNotBooted is returned where systemd is not the service manager.
var ErrNotBooted = errors.New("systemd is not the service manager of this host")

// statePoll is how often a waiting call looks at the unit's state, in case the signal that ends the wait never comes.
const statePoll = 50 * time.Millisecond

// ScopeOptions describes a transient scope: a unit made of processes that run already.
type ScopeOptions struct {
	// Unit is the name, as from ScopeName.
	Unit string
	// Description is what systemctl shows; it may be empty.
	Description string
	// Slice is the slice to live in; empty means system.slice.
	Slice string
	// PIDs are the processes to take over; their children follow only if they are started later.
	PIDs []int
	// Delegate leaves the cgroups below the scope's to its processes.
	Delegate bool
	// StopTimeout is the time between SIGTERM and SIGKILL when the scope is stopped, at the latest at shutdown; zero
	// leaves the host's default.
	StopTimeout time.Duration
}

// StartScope moves the processes into a scope of their own and returns when they are there. From then on stopping, killing
// or restarting the unit they came from does not reach them. The scope disappears with its last process.
//
// It needs root. It speaks to systemd's private socket, so that it works while the bus is down, and to the bus when
// there is no such socket.
func StartScope(ctx context.Context, o ScopeOptions) error {
	if err := startScope(ctx, o); err != nil {
		return fmt.Errorf("cannot start scope %q: %w", o.Unit, err)
	}
	return nil
}

func startScope(ctx context.Context, o ScopeOptions) error {
	if !strings.HasSuffix(o.Unit, scopeSuffix) {
		return errors.New("its name does not end in " + scopeSuffix)
	}
	if len(o.PIDs) == 0 {
		return errors.New("it would have no processes")
	}
	conn, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()

	properties := o.properties(managerVersion(conn))
	done := make(chan string, 1)
	// "fail" never cancels a job that somebody else has queued.
	if _, err := conn.StartTransientUnitContext(ctx, o.Unit, "fail", properties, done); err != nil {
		return explain(err)
	}
	if err := awaitStart(ctx, conn, o.Unit, done); err != nil {
		return err
	}
	return o.checkMoved()
}

// properties returns what a manager of the given version understands: one unknown property and it refuses the unit.
func (o ScopeOptions) properties(version int) []sd.Property {
	pids := make([]uint32, len(o.PIDs))
	for i, pid := range o.PIDs {
		pids[i] = uint32(pid)
	}
	ps := []sd.Property{property("PIDs", pids)}
	if o.Description != "" {
		ps = append(ps, property("Description", o.Description))
	}
	if o.Slice != "" {
		ps = append(ps, property("Slice", o.Slice))
	}
	if o.StopTimeout > 0 {
		ps = append(ps, property("TimeoutStopUSec", uint64(o.StopTimeout.Microseconds())))
	}
	if o.Delegate {
		ps = append(ps, property("Delegate", true))
	}
	if version >= 236 {
		// A scope that ends with a failure is forgotten like any other, so that its name is free again.
		ps = append(ps, property("CollectMode", "inactive-or-failed"))
	}
	if version >= 253 {
		// Otherwise one process killed for want of memory takes the whole scope along, and nobody reports it.
		ps = append(ps, property("OOMPolicy", "continue"))
	}
	return ps
}

// checkMoved looks where the processes are. Ended ones do not matter.
func (o ScopeOptions) checkMoved() error {
	for _, pid := range o.PIDs {
		unit, err := UnitOf(pid)
		if err == nil && unit != o.Unit {
			return fmt.Errorf("process %d stayed in %q", pid, unit)
		}
	}
	return nil
}

func awaitStart(ctx context.Context, conn *sd.Conn, unit string, done <-chan string) error {
	tick := time.NewTicker(statePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("systemd did not finish the job: %w", context.Cause(ctx))
		case result := <-done:
			if result != "done" {
				return fmt.Errorf("systemd ended the job with %q", result)
			}
			return nil
		case <-tick.C:
			switch state, err := activeState(ctx, conn, unit); {
			case err != nil: // the connection is gone or the time is up: the next round tells
			case state == "active":
				return nil
			case state == "failed":
				return errors.New("the scope failed at once")
			}
		}
	}
}

// ScopeState returns the ActiveState of a scope; "inactive" is also the answer for one that does not exist.
func ScopeState(ctx context.Context, unit string) (string, error) {
	conn, err := connect(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot read the state of %q: %w", unit, err)
	}
	defer conn.Close()
	state, err := activeState(ctx, conn, unit)
	if err != nil {
		return "", fmt.Errorf("cannot read the state of %q: %w", unit, explain(err))
	}
	return state, nil
}

// KillScope sends the signal to every process of the scope. A scope that does not exist has no processes: no error.
func KillScope(ctx context.Context, unit string, signal syscall.Signal) error {
	conn, err := connect(ctx)
	if err != nil {
		return fmt.Errorf("cannot signal the processes of %q: %w", unit, err)
	}
	defer conn.Close()
	if err := conn.KillUnitWithTarget(ctx, unit, sd.All, int32(signal)); err != nil && !isNoSuchUnit(err) {
		return fmt.Errorf("cannot signal the processes of %q: %w", unit, explain(err))
	}
	return nil
}

// StopScope ends every process of the scope, SIGTERM first and SIGKILL after the scope's StopTimeout, and returns when
// the scope is gone. A scope that does not exist is no error.
func StopScope(ctx context.Context, unit string) error {
	conn, err := connect(ctx)
	if err != nil {
		return fmt.Errorf("cannot stop %q: %w", unit, err)
	}
	defer conn.Close()
	if _, err := conn.StopUnitContext(ctx, unit, "replace", nil); err != nil {
		if isNoSuchUnit(err) {
			return nil
		}
		return fmt.Errorf("cannot stop %q: %w", unit, explain(err))
	}
	tick := time.NewTicker(statePoll)
	defer tick.Stop()
	for {
		if state, err := activeState(ctx, conn, unit); err == nil && (state == "inactive" || state == "failed") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot stop %q: its processes are still there: %w", unit, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// connect dials the private socket first: it needs no bus daemon and no policy, only root.
func connect(ctx context.Context) (*sd.Conn, error) {
	if !Booted() {
		return nil, ErrNotBooted
	}
	conn, err := sd.NewSystemdConnectionContext(ctx)
	if err == nil {
		return conn, nil
	}
	conn, busErr := sd.NewSystemConnectionContext(ctx)
	if busErr != nil {
		return nil, fmt.Errorf("cannot reach systemd: %w", errors.Join(err, busErr))
	}
	// On the bus, signals come only to those who ask. Without them the state is polled, so a refusal does not matter.
	_ = conn.Subscribe()
	return conn, nil
}

func activeState(ctx context.Context, conn *sd.Conn, unit string) (string, error) {
	p, err := conn.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil {
		return "", err
	}
	state, _ := p.Value.Value().(string)
	return state, nil
}

// managerVersion is the leading number of texts like `"252.39-1~deb12u2"`; 0 when there is none.
func managerVersion(conn *sd.Conn) int {
	text, err := conn.GetManagerProperty("Version")
	if err != nil {
		return 0
	}
	return parseVersion(text)
}

func parseVersion(text string) int {
	text = strings.TrimLeft(text, `"v`)
	text = strings.TrimPrefix(text, "systemd ")
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		text = text[:end]
	}
	version, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return version
}

func property(name string, value any) sd.Property {
	return sd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// explain turns the answers that callers or customers have to tell apart into plain errors.
func explain(err error) error {
	var answer dbus.Error
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Name {
	case "org.freedesktop.systemd1.UnitExists":
		return ErrScopeExists
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return os.ErrPermission
	}
	return err
}

func isNoSuchUnit(err error) bool {
	var answer dbus.Error
	return errors.As(err, &answer) && answer.Name == "org.freedesktop.systemd1.NoSuchUnit"
}
