package install

import (
	"errors"
	"fmt"
	"strings"

	"codedeploy-agent/internal/report"
)

// shown is how many of many like things a message lists: it has to fit the diagnostics that the service takes.
const shown = 20

// problems collects what is wrong with a plan, so that all of it is known at once.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return errors.New(list(p))
}

// list joins lines, the first ones in full and the rest as a number.
func list(lines []string) string {
	if len(lines) <= shown {
		return strings.Join(lines, "\n")
	}
	return fmt.Sprintf("%s\nand %d more", strings.Join(lines[:shown], "\n"), len(lines)-shown)
}

func (p *Plan) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// note adds a warning of the checks before the Install, which may run more than once.
func (p *Plan) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// at names a place in the AppSpec file.
func (p *Plan) at(pos report.Position) string {
	place := report.Finding{File: p.in.Spec.File, Position: pos}.Place()
	if place == "" {
		return ""
	}
	return " (" + place + ")"
}
