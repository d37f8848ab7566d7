package bundle

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// benchBundle is a revision of count files with sizes between small and large.
type benchBundle struct {
	name         string
	count        int
	small, large int
	random       bool // the content cannot be compressed
}

var (
	manySmall = benchBundle{"20000 files of 1-8 KiB", 20_000, 1 << 10, 8 << 10, false}
	oneLarge  = benchBundle{"one file of 200 MB", 1, 200 << 20, 200 << 20, false}
	oneRandom = benchBundle{"one random file of 200 MB", 1, 200 << 20, 200 << 20, true}
)

// benchText is text that compresses about as well as sources do.
type benchText struct {
	words []string
	r     *rand.Rand
	rest  []byte
}

func newBenchText() *benchText {
	r := rand.New(rand.NewPCG(1, 2))
	t := &benchText{r: r}
	for range 3000 {
		t.words = append(t.words, fmt.Sprintf("%x ", r.Uint64()>>(8*r.IntN(6))))
	}
	return t
}

func (t *benchText) Read(p []byte) (int, error) {
	for len(t.rest) < len(p) && len(t.rest) < 1<<20 {
		t.rest = append(t.rest, t.words[t.r.IntN(len(t.words))]...)
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// make writes the bundle as tar, tgz or zip.
func (b benchBundle) make(t testing.TB, dir, kind string) string {
	t.Helper()
	path := filepath.Join(dir, "bundle."+kind)
	f, err := os.Create(path)
	must(t, err)
	out := bufio.NewWriterSize(f, 1<<20)
	var z *gzip.Writer
	var w *tar.Writer
	var zw *zip.Writer
	switch kind {
	case "tar":
		w = tar.NewWriter(out)
	case "tgz":
		z = gzip.NewWriter(out)
		w = tar.NewWriter(z)
	case "zip":
		zw = zip.NewWriter(out)
	}
	content, r := io.Reader(newBenchText()), rand.New(rand.NewPCG(3, 4))
	if b.random {
		content = rand.NewChaCha8([32]byte{1})
	}
	for i := range b.count {
		size := int64(b.small + r.IntN(b.large-b.small+1))
		name := fmt.Sprintf("app/module-%03d/file-%05d.txt", i/100, i)
		if size < 0 {
			name, size = fmt.Sprintf("app/module-%03d/directory-%06d/", i/100, i), 0
		}
		to := io.Writer(w)
		if zw != nil {
			to, err = zw.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: archiveTime, CreatorVersion: 3 << 8, ExternalAttrs: 0o100644 << 16})
		} else {
			err = w.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, ModTime: archiveTime, Typeflag: map[bool]byte{true: tar.TypeDir, false: tar.TypeReg}[b.small < 0]})
		}
		must(t, err)
		_, err = io.CopyN(to, content, size)
		must(t, err)
	}
	if zw != nil {
		must(t, zw.Close())
	} else {
		must(t, w.Close())
	}
	if z != nil {
		must(t, z.Close())
	}
	must(t, out.Flush())
	must(t, f.Close())
	return path
}

// BenchmarkAgainstTheShellTools runs us and the shell's tool in turns, in memory, and reports the medians' ratios:
// of the time that passed, and of the processor time, which a busy machine disturbs less.
func BenchmarkAgainstTheShellTools(b *testing.B) {
	for _, c := range []struct {
		bundle benchBundle
		kind   string
		peer   []string
	}{
		{manySmall, "zip", []string{"unzip", "-qo"}},
		{manySmall, "tgz", []string{"tar", "-zxpf"}},
		{manySmall, "tar", []string{"tar", "-xpf"}},
		{oneLarge, "zip", []string{"unzip", "-qo"}},
		{oneLarge, "tgz", []string{"tar", "-zxpf"}},
		{oneLarge, "tar", []string{"tar", "-xpf"}},
		{oneRandom, "tgz", []string{"tar", "-zxpf"}},
	} {
		b.Run(c.bundle.name+" as "+c.kind, func(b *testing.B) {
			needProgram(b, c.peer[0])
			dir := fastTemp(b)
			archive := c.bundle.make(b, dir, c.kind)
			dst := filepath.Join(dir, "deployment-archive")
			var wall, cpu [2][]float64
			for range b.N {
				must(b, os.RemoveAll(dst))
				start, before := time.Now(), processorTime()
				_, err := Unpack(context.Background(), archive, c.kind, dst, UnpackOptions{}, zap.NewNop())
				must(b, err)
				wall[0] = append(wall[0], time.Since(start).Seconds())
				cpu[0] = append(cpu[0], (processorTime() - before).Seconds())

				must(b, os.RemoveAll(dst))
				must(b, os.Mkdir(dst, 0o755))
				cmd := exec.Command(c.peer[0], append(c.peer[1:], archive)...)
				cmd.Dir = dst
				start = time.Now()
				must(b, cmd.Run())
				wall[1] = append(wall[1], time.Since(start).Seconds())
				cpu[1] = append(cpu[1], (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
			}
			b.ReportMetric(median(wall[0]), "s")
			b.ReportMetric(median(wall[1]), "s-peer")
			b.ReportMetric(median(wall[0])/median(wall[1]), "ratio")
			b.ReportMetric(median(cpu[0])/median(cpu[1]), "cpu-ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func processorTime() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// childArchive makes a child of this test binary unpack: "KIND ARCHIVE DST".
const childArchive = "BUNDLE_TEST_CHILD"

func TestChildUnpacks(t *testing.T) {
	job := os.Getenv(childArchive)
	if job == "" {
		return // this is a part of other tests
	}
	args := strings.SplitN(job, " ", 3)
	_, err := Unpack(context.Background(), args[1], args[0], args[2], UnpackOptions{}, zap.NewNop())
	must(t, err)
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for l := range strings.Lines(string(status)) {
		if strings.HasPrefix(l, "VmHWM:") {
			fmt.Print(l)
		}
	}
}

func childUnpack(archive, kind, dst string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildUnpacks$")
	cmd.Env = append(os.Environ(), childArchive+"="+kind+" "+archive+" "+dst)
	return cmd
}

// BenchmarkMemory reports the largest resident size of a process that does nothing but unpack.
func BenchmarkMemory(b *testing.B) {
	for _, bundle := range []benchBundle{{"one small file", 1, 10, 10, false}, manySmall, oneLarge, {"200000 empty files", 200_000, 0, 0, false}, {"200000 directories", 200_000, -1, -1, false}} {
		for _, kind := range []string{"zip", "tgz", "tar"} {
			b.Run(bundle.name+" as "+kind, func(b *testing.B) {
				dir := fastTemp(b)
				archive := bundle.make(b, dir, kind)
				most := 0.0
				for range b.N {
					out, err := childUnpack(archive, kind, filepath.Join(dir, "deployment-archive")).Output()
					must(b, err)
					var kib float64
					_, err = fmt.Sscanf(strings.TrimSpace(string(out)), "VmHWM: %g", &kib)
					must(b, err)
					most = max(most, kib/1024)
				}
				b.ReportMetric(most, "MiB")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
