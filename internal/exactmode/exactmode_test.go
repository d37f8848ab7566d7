package exactmode_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"testing"

	"codedeploy-agent/internal/exactmode"
)

func umask(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`Umask:\s*(\d+)`).FindStringSubmatch(string(status))[1]
}

func TestTheProcessKeepsItsUmask(t *testing.T) {
	before := umask(t)
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 64 { // enough for the main thread to be asked, too
		all.Go(func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				exactmode.Run(func(exact bool) {
					f, err := os.OpenFile(filepath.Join(dir, string(rune('a'+i))), os.O_CREATE|os.O_WRONLY, 0o666)
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = f.Close() }()
					if info, err := f.Stat(); err != nil || exact && info.Mode().Perm() != 0o666 {
						t.Errorf("the mode is %v (%v)", info.Mode(), err)
					}
					runtime.Gosched()
				})
			}()
			<-done
		})
	}
	all.Wait()
	if after := umask(t); after != before {
		t.Errorf("the umask of the process was %s and is %s", before, after)
	}
}
