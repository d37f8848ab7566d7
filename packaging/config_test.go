package packaging

import (
	"testing"
	"time"

	"codedeploy-agent/internal/config"
)

func TestDefaultConfigurationIsSound(t *testing.T) {
	c, findings, err := config.Load("codedeployagent.yml")
	if err != nil || len(findings) > 0 {
		t.Fatalf("%v %v", err, findings)
	}
	if c.WaitBetweenRuns != time.Second || c.MaxRevisions != 5 || c.RootDir != "/opt/codedeploy-agent/deployment-root" {
		t.Errorf("got %+v", c)
	}
}
