package appspec

import "codedeploy-agent/internal/report"

// The kinds of findings. Names are part of the output formats: they stay.
const (
	ruleSyntax           = "yaml-syntax"
	ruleTooLarge         = "too-large"
	ruleAliases          = "aliases"
	ruleRubyObject       = "ruby-object"
	ruleEmpty            = "empty"
	ruleNotAMapping      = "not-a-mapping"
	ruleOtherPlatform    = "other-platform"
	ruleVersion          = "version"
	ruleOS               = "os"
	ruleFileExists       = "file-exists-behavior"
	ruleNotText          = "not-text"
	ruleHooks            = "hooks"
	ruleEventScripts     = "event-scripts"
	ruleSectionInHooks   = "section-in-hooks"
	ruleScript           = "script"
	ruleLocationMissing  = "location-missing"
	ruleTimeout          = "timeout"
	ruleFiles            = "files"
	ruleFile             = "file"
	ruleSourceMissing    = "source-missing"
	ruleDestMissing      = "destination-missing"
	rulePermissions      = "permissions"
	rulePermission       = "permission"
	ruleObjectMissing    = "object-missing"
	ruleExcept           = "except"
	ruleType             = "type"
	ruleMode             = "mode"
	ruleACL              = "acl"
	ruleContext          = "context"
	ruleRange            = "context-range"
	ruleSeveralDocuments = "several-documents"
	ruleDuplicateKey     = "duplicate-key"
	ruleMergeKey         = "merge-key"
	ruleUnknownKey       = "unknown-key"
	ruleMisplaced        = "misplaced"
	ruleEventUnknown     = "event-unknown"
	ruleEventService     = "event-not-scriptable"
	ruleTimeoutOdd       = "timeout-odd"
	ruleTimeoutSum       = "timeout-sum"
	ruleSudo             = "sudo"
	ruleArguments        = "location-arguments"
	rulePathEmpty        = "path-empty"
	rulePathBlanks       = "path-blanks"
	rulePathGlob         = "path-glob"
	rulePathVariable     = "path-variable"
	rulePathBackslash    = "path-backslash"
	rulePathRelative     = "path-relative"
	ruleSourceOutside    = "source-outside"
	ruleDestinationFile  = "destination-file"
	rulePattern          = "pattern"
	ruleTypeNone         = "type-none"
	ruleModeOdd          = "mode-odd"
	ruleACLOdd           = "acl-odd"
	ruleContextOdd       = "context-odd"
)

// severities says which kinds stop a deployment: what agent 1.x refuses, or fails on without a reason.
var severities = map[string]report.Severity{
	ruleSyntax:          report.Error,
	ruleTooLarge:        report.Error,
	ruleAliases:         report.Error,
	ruleRubyObject:      report.Error,
	ruleEmpty:           report.Error,
	ruleNotAMapping:     report.Error,
	ruleOtherPlatform:   report.Error,
	ruleVersion:         report.Error,
	ruleOS:              report.Error,
	ruleFileExists:      report.Error,
	ruleNotText:         report.Error,
	ruleHooks:           report.Error,
	ruleEventScripts:    report.Error,
	ruleSectionInHooks:  report.Error,
	ruleScript:          report.Error,
	ruleLocationMissing: report.Error,
	ruleTimeout:         report.Error,
	ruleFiles:           report.Error,
	ruleFile:            report.Error,
	ruleSourceMissing:   report.Error,
	ruleDestMissing:     report.Error,
	rulePermissions:     report.Error,
	rulePermission:      report.Error,
	ruleObjectMissing:   report.Error,
	ruleExcept:          report.Error,
	ruleType:            report.Error,
	ruleMode:            report.Error,
	ruleACL:             report.Error,
	ruleContext:         report.Error,
	ruleRange:           report.Error,

	ruleSeveralDocuments: report.Warning,
	ruleDuplicateKey:     report.Warning,
	ruleMergeKey:         report.Warning,
	ruleUnknownKey:       report.Warning,
	ruleMisplaced:        report.Warning,
	ruleEventUnknown:     report.Warning,
	ruleEventService:     report.Warning,
	ruleTimeoutOdd:       report.Warning,
	ruleTimeoutSum:       report.Warning,
	ruleSudo:             report.Warning,
	ruleArguments:        report.Warning,
	rulePathEmpty:        report.Warning,
	rulePathBlanks:       report.Warning,
	rulePathGlob:         report.Warning,
	rulePathVariable:     report.Warning,
	rulePathBackslash:    report.Warning,
	rulePathRelative:     report.Warning,
	ruleSourceOutside:    report.Warning,
	ruleDestinationFile:  report.Warning,
	rulePattern:          report.Warning,
	ruleTypeNone:         report.Warning,
	ruleModeOdd:          report.Warning,
	ruleACLOdd:           report.Warning,
	ruleContextOdd:       report.Warning,
}
