package behaviour

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"codedeploy-agent/internal/stub"
)

var _ = add(State,
	Case{Name: "a host of a 1.x agent goes on: the old stop hook runs, the old files go, under DISALLOW too", Run: func(h *Host) {
		h.Shell(disk, "mkdir -p site/old; echo 1 > site/a; echo 1 > site/old/gone; ln -s a site/link; echo mine > site/mine")
		h.old1x("HOST/srv/site\nHOST/srv/site/a\nHOST/srv/site/old\nHOST/srv/site/old/gone\nHOST/srv/site/link\n")
		h.begin()
		o := site(h, "echo 2 > a; echo 2 > b")
		o.GroupID, o.Events = theGroup, []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"}
		info := h.Succeed(o)
		h.HasTree("site/\nsite/a: 2\nsite/b: 2\nsite/mine: mine")
		h.Same("what ran", []string{"the old ApplicationStop in " + info.ID}, h.Lines("trace"))
		h.Matches("its log", "the old|stop.sh", h.Text(h.Folder(info, "logs", "scripts.log")))
	}},
	Case{Name: "the unfinished last line of a 1.x list names nothing", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo 1 > site/a; echo mine > site/b; echo mine > site/bb")
		h.old1x("HOST/srv/site\nHOST/srv/site/a\nHOST/srv/site/b")
		h.begin()
		o := site(h, "echo 2 > c")
		o.GroupID = theGroup
		h.Succeed(o)
		h.HasTree("site/\nsite/b: mine\nsite/bb: mine\nsite/c: 2")
	}},
	Case{Name: "directories of a 1.x list go only when they are empty, links without what they lead to", Run: func(h *Host) {
		h.Shell(disk, "mkdir -p site/full site/empty data; echo mine > site/full/mine; echo mine > data/x; ln -s ../data site/data")
		h.old1x("HOST/srv/site\nHOST/srv/site/full\nHOST/srv/site/empty\nHOST/srv/site/data\nHOST/srv/site/never-was\n")
		h.begin()
		o := h.Release("zip", "files:", "echo a > a")
		o.GroupID = theGroup
		h.Succeed(o)
		h.HasTree("data/\ndata/x: mine\nsite/\nsite/full/\nsite/full/mine: mine")
	}},
	Case{Name: "lines of a 1.x list that climb, are blank, or are SELinux rules do no harm", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo 1 > site/a; echo mine > mine")
		h.old1x("HOST/srv/site\n\n   \n/\n/..\n  HOST/srv/site/a  \nsemanage\x00HOST/srv/mine\nHOST/srv/site/a\n")
		h.begin()
		o := h.Release("zip", "files:", "echo a > a")
		o.GroupID = theGroup
		h.Succeed(o)
		h.HasTree("mine: mine")
	}},
	Case{Name: "a 1.x host that was stopped in the middle of an Install is put right by the next one", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo 1 > site/a; printf half > site/b")
		h.old1x("HOST/srv/site\nHOST/srv/site/a\nHOST/srv/site/b\n") // the line is written before the copy
		h.begin()
		o := site(h, "echo 2 > a; echo 2 > b; echo 2 > c")
		o.GroupID = theGroup
		h.Succeed(o)
		h.HasTree("site/\nsite/a: 2\nsite/b: 2\nsite/c: 2")
	}},
	Case{Name: "pointers may end in a newline", Run: func(h *Host) {
		h.old1x("")
		for _, name := range []string{"_last_successful_install", "_most_recent_install"} {
			h.Write(h.Instructions(theGroup+name), h.Root(theGroup, "d-OLD000001")+"\n")
		}
		h.begin()
		o := site(h, "echo a > a")
		o.GroupID, o.Events = theGroup, []string{"ApplicationStop", "DownloadBundle", "Install"}
		info := h.Succeed(o)
		h.Same("what ran", []string{"the old ApplicationStop in " + info.ID}, h.Lines("trace"))
	}},
	Case{Name: "pointers that are empty, or to a folder that is gone, are none", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		for i, pointer := range []string{"", "\n", "HOST/conf/deployment-root/gone/d-GONE"} {
			o.GroupID = strings.ReplaceAll(theGroup, "1111", strings.Repeat(string(rune('a'+i)), 4))
			o.Group, o.Events = o.GroupID, []string{"ApplicationStop", "DownloadBundle", "Install"}
			h.Write(h.Instructions(o.GroupID+"_last_successful_install"), pointer)
			h.Succeed(o)
			h.clear()
		}
	}},
	Case{Name: "the old revision's AppSpec file is looked up like any other: appspec.yaml is good", Run: func(h *Host) {
		h.old1x("")
		archive := h.Root(theGroup, "d-OLD000001", "deployment-archive")
		h.Shell(archive, "mv appspec.yml appspec.yaml")
		h.begin()
		o := site(h, "echo a > a")
		o.GroupID, o.Events = theGroup, []string{"ApplicationStop", "DownloadBundle", "Install"}
		info := h.Succeed(o)
		h.Same("what ran", []string{"the old ApplicationStop in " + info.ID}, h.Lines("trace"))
	}},
	Case{Name: "the revisions of 1.x count for max_revisions, the last successful one stays", Run: func(h *Host) {
		h.Set("max_revisions", 2)
		h.old1x("")
		for _, id := range []string{"d-OLD000001", "d-OLD000002", "d-OLD000003"} {
			h.Shell(h.Root(theGroup, id), ":")
			t := time.Now().Add(-100 * time.Hour)
			if err := os.Chtimes(h.Root(theGroup, id), t, t); err != nil {
				h.Fatal(err)
			}
		}
		h.begin()
		o := site(h, "echo a > a")
		o.GroupID, o.Events = theGroup, []string{"DownloadBundle"}
		info := h.Succeed(o)
		want := []string{info.ID, "d-OLD000001"}
		got := h.Revisions(theGroup)
		slices.Sort(want)
		slices.Sort(got)
		h.Same("revisions", want, got)
	}},
	Case{Name: "a command that a 1.x agent was busy with when it died is reported as failed after a restart", Run: func(h *Host) {
		h.old1x("")
		h.Write(h.Root("ongoing-deployment", "d-OLD000001"), "the-command-of-1x")
		h.begin()
		h.Await("the report", func() bool { return len(h.completions("the-command-of-1x")) > 0 })
		h.Same("code", 7, h.completions("the-command-of-1x")[0].ErrorCode)
		h.Await("the end of the tracking file", func() bool { return !h.Exists(h.Root("ongoing-deployment", "d-OLD000001")) })
	}},
	Case{Name: "several commands that a 1.x agent was busy with are all reported", Run: func(h *Host) {
		h.Write(h.Root("ongoing-deployment", "d-OLD000001"), "command-one")
		h.Write(h.Root("ongoing-deployment", "d-OLD000002"), "command-two\n")
		h.begin()
		for _, id := range []string{"command-one", "command-two"} {
			h.Await("the report of "+id, func() bool { return len(h.completions(id)) > 0 })
			h.Same("code of "+id, 7, h.completions(id)[0].ErrorCode)
		}
	}},
	Case{Name: "a tracking file that is older than a day goes without a word", Run: func(h *Host) {
		path := h.Root("ongoing-deployment", "d-OLD000001")
		h.Write(path, "an-old-command")
		t := time.Now().Add(-25 * time.Hour)
		if err := os.Chtimes(path, t, t); err != nil {
			h.Fatal(err)
		}
		h.begin()
		h.Await("the end of the tracking file", func() bool { return !h.Exists(path) })
		h.Succeed(site(h, "echo a > a"))
		h.Same("reports", 0, len(h.completions("an-old-command")))
	}},
)

// completions are the diagnostics that were reported for a command, oldest first, known to the service or not.
func (h *Host) completions(id string) []stub.Diagnostics {
	all := []stub.Diagnostics{}
	for _, r := range h.Twin.Transcript() {
		if r.Operation != "PutHostCommandComplete" {
			continue
		}
		var in struct {
			HostCommandIdentifier string
			Diagnostics           struct{ Payload string }
		}
		if json.Unmarshal(r.Input, &in) != nil || in.HostCommandIdentifier != id {
			continue
		}
		var d stub.Diagnostics
		if err := json.Unmarshal([]byte(in.Diagnostics.Payload), &d); err == nil {
			all = append(all, d)
		}
	}
	return all
}

// What lies on the disk for a 1.x agent to go on from.
var _ = add(State,
	Case{Name: "the pointers are the absolute path of the deployment's folder and nothing else", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo a > a")
		o.Events = []string{"DownloadBundle"}
		first := h.Succeed(o)
		recent, last := h.Instructions(first.GroupID+"_most_recent_install"), h.Instructions(first.GroupID+"_last_successful_install")
		h.Same("the most recent after DownloadBundle", h.Folder(first), h.Text(recent))
		h.Same("the last successful after DownloadBundle", false, h.Exists(last))
		o.Events = []string{"DownloadBundle", "Install"}
		second := h.Succeed(o)
		h.Same("the most recent", h.Folder(second), h.Text(recent))
		h.Same("the last successful after Install", h.Folder(second), h.Text(last))
		third := h.Deploy(h.Release("zip", "files: [{source: gone, destination: HOST/srv}]", "echo b > b"))
		h.Same("the most recent after a failed Install", h.Folder(third), h.Text(recent))
		h.Same("the last successful after a failed Install", h.Folder(second), h.Text(last))
	}},
	Case{Name: "the last successful revision is set by Install, whatever comes after", Run: func(h *Host) {
		h.begin()
		o := h.withHook("files: [{source: a, destination: HOST/srv}]", "echo a > a", "AfterInstall", "exit 1")
		info := h.Deploy(o)
		h.Same("the last successful", h.Folder(info), h.Text(h.Instructions(info.GroupID+"_last_successful_install")))
	}},
	Case{Name: "the list for the next clean-up names every object that was made, a line each, directories before what is in them", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo mine > site/kept; echo mine > site/over")
		h.begin()
		o := h.Release("tar", "files: [{source: www, destination: HOST/srv/site}, {source: c, destination: HOST/srv/x/y}]",
			"mkdir -p www/sub/deep; echo a > www/a; echo b > www/sub/deep/b; ln -s a www/link; echo o > www/over; echo c > c; chmod 600 c")
		o.FileExistsBehavior = "OVERWRITE"
		info := h.Succeed(o)
		text := h.Owned(info.GroupID)
		h.Matches("the list", `\n$`, text)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		want := []string{}
		for _, p := range []string{"site/a", "site/link", "site/over", "site/sub", "site/sub/deep", "site/sub/deep/b", "x", "x/y", "x/y/c"} {
			want = append(want, h.Path(disk, p))
		}
		h.Same("the list, sorted", want, slices.Sorted(slices.Values(lines)))
		for i, line := range lines {
			if at := slices.Index(lines, filepath.Dir(line)); at > i {
				h.Errorf("%s stands before its directory", line)
			}
		}
	}},
	Case{Name: "retained files are not in the list for the next clean-up", Run: func(h *Host) {
		h.Shell(disk, "mkdir site; echo mine > site/a")
		h.begin()
		o := site(h, "echo a > a; echo b > b")
		o.FileExistsBehavior = "RETAIN"
		info := h.Succeed(o)
		h.Same("the list", h.Path(disk, "site", "b")+"\n", h.Owned(info.GroupID))
	}},
	Case{Name: "install.json tells what was done in the words of 1.x", Run: func(h *Host) {
		me, group := strings.TrimSpace(h.Shell(disk, "id -un")), strings.TrimSpace(h.Shell(disk, "id -gn"))
		h.begin()
		info := h.Succeed(h.Release("tar", "files: [{source: www, destination: HOST/srv/site}]\npermissions:\n"+
			"  - {object: HOST/srv/site/a, mode: 640, owner: "+me+", group: "+group+", acls: [\"u:daemon:r\", \"g:bin:rw\"]}\n  - {object: HOST/srv/site/sub, mode: \"0755\"}\n  - {object: HOST/srv/site, pattern: sub, mode: 75}",
			"mkdir -p www/sub; echo a > www/a; echo b > www/sub/b"))
		var got struct{ Instructions []map[string]any }
		if err := json.Unmarshal([]byte(h.Text(h.Instructions(info.GroupID+"-install.json"))), &got); err != nil {
			h.Fatal(err)
		}
		from, to := h.Folder(info, "deployment-archive", "www"), h.Path(disk, "site")
		want := []map[string]any{
			{"type": "mkdir", "directory": h.Path(disk)}, {"type": "mkdir", "directory": to}, {"type": "mkdir", "directory": to + "/sub"},
			{"type": "copy", "source": from + "/a", "destination": to + "/a"}, {"type": "copy", "source": from + "/sub/b", "destination": to + "/sub/b"},
			{"type": "chmod", "mode": "640", "file": to + "/a"}, {"type": "setfacl", "acl": []any{"user:daemon:r--", "group:bin:rw-"}, "file": to + "/a"},
			{"type": "chown", "owner": me, "group": group, "file": to + "/a"}, {"type": "chmod", "mode": "0755", "file": to + "/sub/b"},
			{"type": "chmod", "mode": "075", "file": to + "/sub"},
		}
		if h.Exists(disk) && got.Instructions[0]["directory"] != h.Path(disk) {
			want = want[1:]
		}
		order := func(a, b map[string]any) int {
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(b)
			return strings.Compare(string(x), string(y))
		}
		kinds := []string{}
		for _, in := range got.Instructions {
			kinds = append(kinds, in["type"].(string))
		}
		h.Matches("the kinds in their order", `^(mkdir |copy )+(chmod |setfacl |chown )+$`, strings.Join(kinds, " ")+" ")
		slices.SortFunc(want, order)
		slices.SortFunc(got.Instructions, order)
		h.Same("the instructions", want, got.Instructions)
	}},
	Case{Name: "a 1.x agent that comes back can clean up: nothing of ours stays, all of the customer's does", Run: func(h *Host) {
		h.Shell(disk, "mkdir -p site/cache; echo mine > site/mine; echo mine > site/cache/mine")
		before := h.Tree(disk)
		h.begin()
		var info stub.DeploymentInfo
		for range 2 {
			info = h.Succeed(site(h, "mkdir -p sub/deep cache; echo a > a; echo b > sub/deep/b; echo c > cache/c; ln -s a link; echo w > 'two words; and more'"))
		}
		h.Stop()
		h.cleanUpAs1x(info.GroupID)
		h.Same("the disk", before, h.Tree(disk))
	}},
	Case{Name: "after a 1.x agent has been there in between, its list counts and not what we knew", Run: func(h *Host) {
		h.begin()
		o := site(h, "echo 1 > a; echo 1 > b")
		info := h.Succeed(o)
		h.Stop()
		h.cleanUpAs1x(info.GroupID)
		h.Shell(disk, "mkdir -p site; echo 1x > site/x; echo mine > site/b")
		h.Write(h.Instructions(info.GroupID+"-cleanup"), "HOST/srv/site\nHOST/srv/site/x\n")
		h.Start()
		h.Succeed(site(h, "echo 2 > a"))
		h.HasTree("site/\nsite/a: 2\nsite/b: mine")
	}},
	Case{Name: "what is in progress stands in ongoing-deployment as long as it is", Run: func(h *Host) {
		h.begin()
		o := h.withHook("files:", "echo a > a", "AfterInstall", "cd HOST/conf/deployment-root/ongoing-deployment && ls > HOST/names && cat * > HOST/content")
		info := h.Succeed(o)
		h.Same("the name of the file", info.ID+"\n", h.Text("names"))
		h.Same("its content", h.Event(info, "AfterInstall").Command, h.Text("content"))
		h.Await("its end", func() bool { return len(h.Tree(h.Root("ongoing-deployment"))) == 0 })
	}},
	Case{Name: "the folders and names below the deployment root are those of 1.x", Run: func(h *Host) {
		h.begin()
		info := h.Succeed(h.withHook("files: [{source: a, destination: HOST/srv}]", "echo a > a", "AfterInstall", ":"))
		for _, path := range []string{
			h.Folder(info, "deployment-archive", "appspec.yml"), h.Folder(info, "logs", "scripts.log"), h.Instructions(info.GroupID + "-install.json"),
			h.Instructions(info.GroupID + "-cleanup"), h.Root("deployment-logs", "codedeploy-agent-deployments.log"), h.Root("ongoing-deployment"),
		} {
			if !h.Exists(path) {
				h.Errorf("%s is missing", path)
			}
		}
		if h.Exists(h.Folder(info, "deployment-archive-temp")) {
			h.Error("deployment-archive-temp is still there")
		}
	}},
)
