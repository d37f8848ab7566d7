package behaviour

import (
	"fmt"
	"os"
	"slices"
	"time"

	"codedeploy-agent/internal/stub"
)

// aged makes the folder of a deployment as old as hours ago: retention goes by that.
func (h *Host) aged(info stub.DeploymentInfo, hours int) {
	h.Helper()
	t := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(h.Folder(info), t, t); err != nil {
		h.Fatal(err)
	}
}

// keeps fails the case unless the folders that are left are those of the deployments.
func (h *Host) keeps(infos ...stub.DeploymentInfo) {
	h.Helper()
	want := []string{}
	for _, info := range infos {
		want = append(want, info.ID)
	}
	slices.Sort(want)
	got := h.Revisions(infos[0].GroupID)
	slices.Sort(got)
	h.Same("the revisions that are kept", want, got)
}

var _ = add(Files,
	Case{Name: "as many revisions are kept as max_revisions says, the new one included, and the oldest go first", Run: func(h *Host) {
		h.Set("max_revisions", 3)
		h.begin()
		o := site(h, "echo a > a")
		all := []stub.DeploymentInfo{}
		for range 5 {
			info := h.Succeed(o)
			all = append(all, info)
			for i, each := range all[max(0, len(all)-3):] {
				h.aged(each, 10-i)
			}
			h.keeps(all[max(0, len(all)-3):]...)
		}
	}},
	Case{Name: "five revisions are kept when nothing is said", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		all := []stub.DeploymentInfo{}
		for i := range 7 {
			all = append(all, h.Succeed(o))
			h.aged(all[i], 20-i)
		}
		h.keeps(all[2:]...)
	}},
	Case{Name: "the oldest is what was changed the longest time ago, not what was deployed first", Run: func(h *Host) {
		h.Set("max_revisions", 2)
		h.begin()
		o := site(h, "echo a > a")
		bad := site(h, "echo b > b")
		bad.Events = []string{"DownloadBundle"}
		one, two := h.Succeed(bad), h.Succeed(bad)
		h.aged(one, 1)
		h.aged(two, 2)
		h.keeps(one, two)
		h.keeps(one, h.Succeed(o))
	}},
	Case{Name: "the last successful revision is never removed, however old", Run: func(h *Host) {
		h.Set("max_revisions", 2)
		h.begin()
		good := h.Succeed(site(h, "echo a > a"))
		h.aged(good, 100)
		bad := h.Release("zip", "files: [{source: gone, destination: HOST/srv}]", "echo b > b")
		var last stub.DeploymentInfo
		for i := range 3 {
			last = h.Deploy(bad)
			h.aged(last, 50-i)
		}
		h.keeps(good, last)
		h.HasTree("site/\nsite/a: a")
	}},
	Case{Name: "with max_revisions: 1 a deployment still has the last successful revision for its stop hook", Run: func(h *Host) {
		h.Set("max_revisions", 1)
		h.begin()
		for i := range 3 {
			h.Succeed(h.withHook("files: [{source: a, destination: HOST/srv}]", fmt.Sprintf("echo %d > a", i), "ApplicationStop", fmt.Sprintf("echo stop %d >> HOST/trace", i)))
		}
		h.Same("what stopped", []string{"stop 0", "stop 1"}, h.Lines("trace"))
	}},
	Case{Name: "each deployment group has revisions of its own", Run: func(h *Host) {
		h.Set("max_revisions", 1)
		h.begin()
		one := h.Release("zip", "files:", "echo a > a")
		two := one
		one.Group, two.Group = "one", "two"
		first, second := h.Succeed(one), h.Succeed(two)
		h.keeps(first)
		h.keeps(second)
	}},
	Case{Name: "what else lies in the group's folder counts as 1.x counts it, and does no harm", Run: func(h *Host) {
		h.Set("max_revisions", 2)
		h.begin()
		o := site(h, "echo a > a")
		one := h.Succeed(o)
		h.Shell(h.Root(one.GroupID, "d-OLD000001", "deployment-archive"), "mkdir -m 500 ro; echo x > x")
		t := time.Now().Add(-200 * time.Hour)
		if err := os.Chtimes(h.Root(one.GroupID, "d-OLD000001"), t, t); err != nil {
			h.Fatal(err)
		}
		h.keeps(one, h.Succeed(o))
	}},
	Case{Name: "a restart takes the archive of the deployment that it names and downloads nothing", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a; mkdir d; ln -s a d/link; chmod 640 a")
		first := h.Succeed(o)
		reads := func() int {
			n := 0
			for _, r := range h.Twin.Transcript() {
				if r.Service == "s3" && r.Method == "GET" {
					n++
				}
			}
			return n
		}
		before := reads()
		o.ReuseArchiveFrom = first.ID
		h.Succeed(o)
		h.HasTree("site/\nsite/a 0640: a\nsite/d/\nsite/d/link -> a")
		h.Same("downloads", before, reads())
	}},
	Case{Name: "a restart whose archive is gone downloads it", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		o.ReuseArchiveFrom = "d-GONE12345"
		h.Succeed(o)
		h.HasTree("site/\nsite/a: a")
	}},
)
