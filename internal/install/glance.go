package install

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// glance is what a look at one file of a run found: at its source, if that was not looked at before, and at its target,
// if the directory exists.
type glance struct {
	source unix.Stat_t
	target unix.Statx_t
	found  bool // the target
	err    error
}

const (
	glances    = 512 // how many files are looked at before decisions are taken
	glanceHalf = 32  // how many are worth a second thread
)

// look fills in a glance for each file from first on. to is -1 when the directory is yet to be made.
func (p *Plan) look(all []glance, first int32, from, to int) {
	var wg sync.WaitGroup
	half := len(all)
	if half > glanceHalf {
		half /= 2
		wg.Go(func() {
			for i := half; i < len(all); i++ {
				all[i] = p.glanceAt(&p.files[int(first)+i], from, to)
			}
		})
	}
	for i := range half {
		all[i] = p.glanceAt(&p.files[int(first)+i], from, to)
	}
	wg.Wait()
}

func (p *Plan) glanceAt(f *file, from, to int) (g glance) {
	name := p.name(f)
	if f.mode == 0 {
		if err := retry(func() error { return unix.Fstatat(from, name, &g.source, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
			g.err = fmt.Errorf("cannot read %q of the bundle: %w", name, err)
			return g
		}
	}
	if to >= 0 {
		var err error
		if g.target, g.found, err = look(to, name); err != nil {
			g.err = fmt.Errorf("cannot look at the target of %q: %w", name, err)
		}
	}
	return g
}
