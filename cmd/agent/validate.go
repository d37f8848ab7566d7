package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"codedeploy-agent/appspec"
	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/bundle"
	"codedeploy-agent/internal/report"
)

// validateCommand checks a revision the way the daemon does at DownloadBundle.
type validateCommand struct {
	path, format, appSpecFilename string
}

func (v *validateCommand) flags(f *pflag.FlagSet) {
	v.format = "text"
	f.Var(choice{&v.format, report.Formats()}, "format", "Form of the findings; github means workflow commands.")
	f.StringVar(&v.appSpecFilename, "appspec-filename", appspec.DefaultName, "Name of the AppSpec file; appspec.yaml and appspec.yml are found by themselves.")
}

// run checks a directory, an archive (tar, tgz, zip) or an AppSpec file alone.
func (v *validateCommand) run(_ *commandLine, arguments []string) error {
	v.path = arguments[0]
	findings, err := v.findings()
	if err != nil {
		return err
	}
	findings.Sort()
	if err := report.Write(os.Stdout, v.format, findings); err != nil {
		return err
	}
	if len(findings.Errors()) > 0 {
		return exitCode(1)
	}
	if v.format == "text" && len(findings) == 0 {
		fmt.Println("The AppSpec file is valid; nothing to say about its scripts.")
	}
	return nil
}

func (v *validateCommand) findings() (report.Findings, error) {
	info, err := os.Stat(v.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the revision: %w", err)
	}
	if !info.IsDir() && isAppSpec(v.path) {
		text, err := os.ReadFile(v.path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the AppSpec file: %w", err)
		}
		_, findings := appspec.Parse(v.path, text)
		return findings, nil
	}
	dir, remove, err := revisionDirectory(v.path, info.IsDir())
	if err != nil {
		return nil, err
	}
	defer remove()
	return checkRevision(dir, v.appSpecFilename)
}

func isAppSpec(path string) bool {
	return strings.HasSuffix(path, ".yml") || strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".json")
}

// checkRevision finds everything that can be said about a revision without running it.
func checkRevision(dir, name string) (report.Findings, error) {
	path, err := appspec.Locate(dir, name)
	if err != nil {
		return report.Findings{{Severity: report.Error, File: name, Message: err.Error()}}, nil //nolint:nilerr // it is the finding
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the AppSpec file: %w", err)
	}
	relative, err := filepath.Rel(dir, path)
	if err != nil {
		relative = path
	}
	spec, findings := appspec.Parse(relative, text)
	if spec != nil {
		findings = append(findings, hooks.Check(dir, spec)...)
	}
	return findings, nil
}

// revisionDirectory returns the directory of a revision; an archive is unpacked into a temporary one.
func revisionDirectory(path string, isDir bool) (dir string, remove func(), err error) {
	if isDir {
		return path, func() {}, nil
	}
	temporary, err := os.MkdirTemp("", "codedeploy-revision-")
	if err != nil {
		return "", nil, fmt.Errorf("cannot unpack the revision: %w", err)
	}
	remove = func() { _ = os.RemoveAll(temporary) }
	dir = filepath.Join(temporary, "deployment-archive")
	if _, err := bundle.Unpack(context.Background(), path, typeByName(path), dir, bundle.UnpackOptions{}, zap.NewNop()); err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

func typeByName(path string) string {
	switch {
	case strings.HasSuffix(path, ".zip"):
		return "zip"
	case strings.HasSuffix(path, ".tgz"), strings.HasSuffix(path, ".tar.gz"):
		return "tgz"
	}
	return "tar"
}
