package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"codedeploy-agent/internal/stub"
)

// BenchmarkEndToEnd compares DownloadBundle and Install, as the service sees them, with what a person would type: curl,
// the archive's own program, cp -a. Both run in turn, in memory (/dev/shm); the ratio of the medians is printed. Run it
// with -benchtime 1x.
func BenchmarkEndToEnd(b *testing.B) {
	for _, c := range []struct {
		name, kind string
		make       func(b *testing.B, dir string)
		unpack     string
	}{
		{"20000 files as zip", "zip", manyFiles(20000, 1<<10, 8<<10), "unzip -qo ../bundle"},
		{"20000 files as tgz", "tgz", manyFiles(20000, 1<<10, 8<<10), "tar -zxpf ../bundle"},
		{"20000 files as tar", "tar", manyFiles(20000, 1<<10, 8<<10), "tar -xpf ../bundle"},
		{"source tree as zip", "zip", manyFiles(4500, 2<<10, 20<<10), "unzip -qo ../bundle"},
		{"source tree as tgz", "tgz", manyFiles(4500, 2<<10, 20<<10), "tar -zxpf ../bundle"},
		{"200 MB of text as tgz", "tgz", manyFiles(1, 200<<20, 200<<20), "tar -zxpf ../bundle"},
		{"200 MB of random bytes as tgz", "tgz", randomFile(200 << 20), "tar -zxpf ../bundle"},
		{"200 MB file as tar", "tar", manyFiles(1, 200<<20, 200<<20), "tar -xpf ../bundle"},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "-"), func(b *testing.B) {
			for _, program := range []string{"curl", "tar", "zip", "unzip", "cp"} {
				if _, err := exec.LookPath(program); err != nil {
					b.Skip("NOT RUN HERE (needs " + program + ")")
				}
			}
			compareEndToEnd(b, c.kind, c.make, c.unpack)
		})
	}
}

const endToEndRounds = 5

func compareEndToEnd(b *testing.B, kind string, fill func(*testing.B, string), unpack string) {
	memory, err := os.MkdirTemp("/dev/shm", "codedeploy-bench-")
	if err != nil {
		b.Skip("NOT RUN HERE (needs /dev/shm): " + err.Error())
	}
	b.Cleanup(func() { _ = os.RemoveAll(memory) })
	target := filepath.Join(memory, "target")
	archive := pack(b, memory, kind, target, fill)
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(archive))))
	b.Cleanup(server.Close)

	var ours, theirs []time.Duration
	for range b.N {
		for range endToEndRounds {
			ours = append(ours, deployFrom(b, memory, archive, kind, target))
			_ = os.RemoveAll(target)
			theirs = append(theirs, shell(b, memory, fmt.Sprintf(
				"mkdir -p shell/tree && cd shell/tree && curl -sSo ../bundle %s/%s && %s && mkdir -p %s && cp -a www/. %s",
				server.URL, filepath.Base(archive), unpack, target, target)))
			_ = os.RemoveAll(target)
			_ = os.RemoveAll(filepath.Join(memory, "shell"))
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	mine, peer := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(float64(mine)/float64(peer), "ratio")
	b.ReportMetric(mine.Seconds()*1000, "ms/agent")
	b.ReportMetric(peer.Seconds()*1000, "ms/shell")
	b.ReportMetric(0, "ns/op")
}

// deployFrom plays DownloadBundle and Install on a host of its own and returns how long the two took.
func deployFrom(b *testing.B, memory, archive, kind, target string) time.Duration {
	b.Helper()
	server, err := stub.Start(b.Context(), stub.Options{Dir: filepath.Join(memory, "stub"), LongPoll: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	host, err := server.AddHost(stub.Host{Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(memory, "host")
	config, err := host.WriteConfig(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	revision, err := server.PushAs(b.Context(), archive, kind)
	if err != nil {
		b.Fatal(err)
	}
	program, err := exec.LookPath("codedeploy-agent")
	if err != nil {
		b.Fatal(err)
	}
	agent := exec.Command(program, "run", "--config-file", config)
	if err := agent.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = agent.Process.Kill(); _ = agent.Wait() }()
	d, err := server.Deploy(b.Context(), stub.DeployOptions{Revision: revision, Events: []string{"DownloadBundle", "Install"}})
	if err != nil {
		b.Fatal(err)
	}
	info, err := d.Wait(b.Context())
	if err != nil || info.Status != stub.Succeeded {
		b.Fatal(info.Message, err)
	}
	if peak := peakMemory(agent.Process.Pid); peak != "" {
		b.Logf("peak memory of the agent: %s", peak)
	}
	events := info.Hosts[0].Events
	return events[len(events)-1].End.Sub(events[0].Start)
}

func peakMemory(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(peak)
		}
	}
	return ""
}

func shell(b *testing.B, dir, script string) time.Duration {
	b.Helper()
	began := time.Now()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return time.Since(began)
}

// pack makes the bundle: www with the files, and an AppSpec file that copies it to the target.
func pack(b *testing.B, memory, kind, target string, fill func(*testing.B, string)) string {
	b.Helper()
	source := filepath.Join(memory, "source")
	if err := os.MkdirAll(filepath.Join(source, "www"), 0o755); err != nil {
		b.Fatal(err)
	}
	spec := "version: 0.0\nos: linux\nfiles:\n  - source: /www\n    destination: " + target + "\n"
	if err := os.WriteFile(filepath.Join(source, "appspec.yml"), []byte(spec), 0o644); err != nil {
		b.Fatal(err)
	}
	fill(b, filepath.Join(source, "www"))
	archives := filepath.Join(memory, "archives")
	if err := os.MkdirAll(archives, 0o755); err != nil {
		b.Fatal(err)
	}
	archive := filepath.Join(archives, "bundle."+kind)
	shell(b, source, map[string]string{
		"zip": "zip -qr " + archive + " .", "tgz": "tar -zcf " + archive + " .", "tar": "tar -cf " + archive + " .",
	}[kind])
	_ = os.RemoveAll(source)
	return archive
}

// manyFiles fills a directory with files that compress about as well as source code does.
func manyFiles(n, smallest, largest int) func(*testing.B, string) {
	return func(b *testing.B, dir string) {
		random := rand.New(rand.NewPCG(1, 2))
		words := make([][]byte, 4096)
		for i := range words {
			words[i] = fmt.Appendf(nil, "%x ", random.Uint64()>>(8*random.IntN(7)))
		}
		var text bytes.Buffer
		for i := range n {
			text.Reset()
			for size := smallest + random.IntN(largest-smallest+1); text.Len() < size; {
				text.Write(words[random.IntN(len(words))])
			}
			path := filepath.Join(dir, fmt.Sprint(i%200), fmt.Sprintf("file-%d.txt", i))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// randomFile fills a directory with one file that cannot be compressed, as programs and images hardly can.
func randomFile(size int64) func(*testing.B, string) {
	return func(b *testing.B, dir string) {
		f, err := os.Create(filepath.Join(dir, "large"))
		if err == nil {
			_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
