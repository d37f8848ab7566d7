package install

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// smallFiles writes n files of 1 to 8 KiB, 100 to a directory.
func smallFiles(t testing.TB, dir string, n int) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 8<<10)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	for i := range n {
		d := filepath.Join(dir, fmt.Sprintf("dir%03d", i/100))
		if i%100 == 0 {
			must(t, os.MkdirAll(d, 0o755))
		}
		must(t, os.WriteFile(filepath.Join(d, fmt.Sprintf("file-%05d.txt", i)), data[:1024+random.IntN(7<<10)], 0o644))
	}
}

// besideCp runs an Install and a cp -a of the same tree in turns and reports the ratio of their median times.
func besideCp(b *testing.B, place aPlace, archive func(dir string), existing, durable bool) {
	var ours, theirs []cost
	for range b.N {
		for range 5 {
			ours = append(ours, timeInstall(b, place, archive, existing))
			theirs = append(theirs, timeCp(b, place, archive, existing, durable))
		}
	}
	for what, of := range map[string]func(cost) time.Duration{
		"": func(c cost) time.Duration { return c.wall }, "-cpu": func(c cost) time.Duration { return c.cpu },
	} {
		o, c := median(ours, of), median(theirs, of)
		b.ReportMetric(float64(o.Microseconds())/1000, "ms/install"+what)
		b.ReportMetric(float64(c.Microseconds())/1000, "ms/cp"+what)
		b.ReportMetric(float64(o)/float64(c), "ratio"+what)
	}
	b.ReportMetric(0, "ns/op")
}

// cost is what one run took: on a busy machine the processor time says more than the clock.
type cost struct{ wall, cpu time.Duration }

func median(costs []cost, of func(cost) time.Duration) time.Duration {
	var all []time.Duration
	for _, c := range costs {
		all = append(all, of(c))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// measure runs f and returns what it cost this process, or its children.
func measure(b *testing.B, who int, f func()) cost {
	var before, after unix.Rusage
	must(b, unix.Getrusage(who, &before))
	start := time.Now()
	f()
	wall := time.Since(start)
	must(b, unix.Getrusage(who, &after))
	used := func(r unix.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	return cost{wall, used(after) - used(before)}
}

// aPlace makes a directory for one run, on a file system as the row wants it.
type aPlace func(b *testing.B) (dir string, remove func())

// anywhere is below $INSTALL_BENCH_DIR, or in memory.
func anywhere(b *testing.B) (string, func()) {
	dir := os.Getenv("INSTALL_BENCH_DIR")
	if dir == "" {
		dir = inMemory(b)
	}
	dir, err := os.MkdirTemp(dir, "install-bench-")
	must(b, err)
	return dir, func() { _ = os.RemoveAll(dir) }
}

// freshExt4 is a new ext4 in a file in memory: creating files where many were removed is a story of its own. It has
// inodes enough for the old and the new files side by side.
func freshExt4(b *testing.B) (string, func()) {
	if os.Geteuid() != 0 {
		b.Skip("NOT RUN HERE (needs root to mount a file system): " + b.Name())
	}
	dir, remove := anywhere(b)
	_, mnt := ownImage(b, dir, []string{"mkfs.ext4", "-q", "-F", "-N", "200000"}, 1<<30)
	return mnt, func() {
		must(b, exec.Command("umount", mnt).Run())
		remove()
	}
}

func timeInstall(b *testing.B, place aPlace, archive func(string), existing bool) cost {
	dir, remove := place(b)
	defer remove()
	h := hostIn(b, dir)
	first := h.revision(nil)
	archive(first.Archive())
	in := h.input(first, to("/srv/app"))
	in.RootDir = ""
	in.Spec = to(h.disk + "/srv/app")
	if existing {
		must(b, install(in))
		second := h.revision(nil)
		archive(second.Archive())
		in = h.input(second, in.Spec)
		in.RootDir = ""
	}
	unix.Sync()
	return measure(b, unix.RUSAGE_SELF, func() {
		p, err := Make(context.Background(), in)
		must(b, err)
		must(b, p.Apply(context.Background(), zap.NewNop()))
	})
}

func timeCp(b *testing.B, place aPlace, archive func(string), existing, durable bool) cost {
	dir, remove := place(b)
	defer remove()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must(b, os.Mkdir(from, 0o755))
	must(b, os.Mkdir(to, 0o755))
	archive(from)
	if existing {
		must(b, exec.Command("cp", "-a", from+"/.", to).Run())
	}
	unix.Sync()
	return measure(b, unix.RUSAGE_CHILDREN, func() {
		must(b, exec.Command("cp", "-a", from+"/.", to).Run())
		if durable {
			must(b, exec.Command("sync", "-f", to).Run())
		}
	})
}

func BenchmarkInstall20000NewFiles(b *testing.B) {
	besideCp(b, anywhere, func(dir string) { smallFiles(b, dir, 20_000) }, false, false)
}

func BenchmarkInstall20000OverExistingFiles(b *testing.B) {
	for name, place := range map[string]aPlace{"ext4": freshExt4, "memory": anywhere} {
		b.Run(name, func(b *testing.B) {
			besideCp(b, place, func(dir string) { smallFiles(b, dir, 20_000) }, true, false)
		})
	}
}

func BenchmarkInstallDurably(b *testing.B) {
	besideCp(b, anywhere, func(dir string) { smallFiles(b, dir, 20_000) }, false, true)
}

func BenchmarkInstallOneLargeFile(b *testing.B) {
	besideCp(b, anywhere, func(dir string) {
		must(b, os.WriteFile(filepath.Join(dir, "large"), make([]byte, 200<<20), 0o644))
	}, false, false)
}
