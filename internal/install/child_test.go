package install

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"codedeploy-agent/appspec"
	"codedeploy-agent/internal/state"

	"go.uber.org/zap"
)

// The tests that kill an Install run it in a child: the test binary itself, told by this variable what to do.
const childVariable = "INSTALL_TEST_CHILD"

type childJob struct {
	Root, Disk, Deployment, Token string
	Spec                          *appspec.Spec
}

// childMain installs, after it has said so on its output, and says when it is done.
func childMain() int {
	var job childJob
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &job); err != nil {
		fmt.Println(err)
		return 2
	}
	g := state.NewRoot(job.Root, "").Group("group-1")
	d := g.Deployment(job.Deployment)
	in := Input{
		Archive: d.Archive(), Spec: job.Spec, Behavior: appspec.Disallow, Group: g, Deployment: d, Token: job.Token, RootDir: job.Disk,
	}
	p, err := Make(context.Background(), in)
	if err == nil {
		fmt.Println("begin")
		err = p.Apply(context.Background(), zap.NewNop())
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("done")
	if os.Getenv("INSTALL_TEST_MEMORY") != "" {
		b, _ := os.ReadFile("/proc/self/status")
		fmt.Println(string(b))
	}
	return 0
}
