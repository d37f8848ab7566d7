package agent

import (
	"context"
	"fmt"
	"sync"
)

// groupLocks let one DownloadBundle or Install at a time work on a deployment group. Hooks take no lock: a stuck hook
// must not block the deployment that repairs it.
type groupLocks struct {
	mu   sync.Mutex
	held map[string]*groupLock
}

type groupLock struct {
	free   chan struct{} // holds one value while nobody works
	holder string
	users  int
}

// lock waits until the group is free and returns how to free it again. Waiting is told, with the holder.
func (l *groupLocks) lock(ctx context.Context, group, who string, waiting func(string) func()) (unlock func(), err error) {
	lock := l.join(group)
	select {
	case <-lock.free:
	default:
		holder := l.holder(lock)
		defer waiting(who + " waits for " + holder)()
		select {
		case <-lock.free:
		case <-ctx.Done():
			l.leave(group, lock)
			return nil, fmt.Errorf("cannot start %s: stopped while waiting for %s", who, holder)
		}
	}
	l.mu.Lock()
	lock.holder = who
	l.mu.Unlock()
	return func() {
		lock.free <- struct{}{}
		l.leave(group, lock)
	}, nil
}

func (l *groupLocks) join(group string) *groupLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*groupLock{}
	}
	lock := l.held[group]
	if lock == nil {
		lock = &groupLock{free: make(chan struct{}, 1)}
		lock.free <- struct{}{}
		l.held[group] = lock
	}
	lock.users++
	return lock
}

func (l *groupLocks) leave(group string, lock *groupLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock.users--; lock.users == 0 {
		delete(l.held, group)
	}
}

func (l *groupLocks) holder(lock *groupLock) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return lock.holder
}
