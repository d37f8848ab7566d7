package agent

import (
	"fmt"

	"codedeploy-agent/hooks"
	"codedeploy-agent/internal/codedeploy"
)

// outcome is how the work of a command ended.
type outcome struct {
	status      codedeploy.Status
	diagnostics codedeploy.Diagnostics
}

// succeeded is the outcome of work that went well; note is empty or says what was special about it.
func succeeded(note string) outcome {
	return outcome{codedeploy.Succeeded, codedeploy.Diagnostics{Code: codedeploy.Success, Message: "Succeeded: " + note}}
}

// failed turns an error into what the customer reads in the console. No other place does.
func failed(err error) outcome {
	return outcome{codedeploy.Failed, codedeploy.Diagnostics{Code: codedeploy.UnknownError, Message: err.Error()}}
}

// interrupted is the outcome of work that was cut short by the end of the agent or of the host.
func interrupted(what string) outcome {
	return outcome{codedeploy.Failed, codedeploy.Diagnostics{
		Code:    codedeploy.FailedAfterRestart,
		Message: fmt.Sprintf("Failed: %s was interrupted when the agent or the host was restarted, and its result is not known. Look at the host before you deploy again.", what),
	}}
}

// hookCodes gives the outcome of a hook the code that the service knows.
var hookCodes = map[hooks.Outcome]codedeploy.ErrorCode{
	hooks.Succeeded:       codedeploy.Success,
	hooks.ScriptMissing:   codedeploy.ScriptMissing,
	hooks.NotExecutable:   codedeploy.ScriptExecutability,
	hooks.TimedOut:        codedeploy.ScriptTimedOut,
	hooks.Failed:          codedeploy.ScriptFailed,
	hooks.OutputsLeftOpen: codedeploy.OutputsLeftOpen,
	hooks.Error:           codedeploy.UnknownError,
	hooks.Lost:            codedeploy.FailedAfterRestart,
}

// hookOutcome turns the result of a hook into what the customer reads in the console.
func hookOutcome(event string, r hooks.Result) outcome {
	if r.Outcome == hooks.Succeeded {
		return succeeded("") // the output of a hook that went well is not sent
	}
	if r.Outcome == hooks.Lost && r.Message == "" {
		return interrupted("the lifecycle event " + event)
	}
	code, known := hookCodes[r.Outcome]
	if !known {
		code = codedeploy.UnknownError
	}
	return outcome{codedeploy.Failed, codedeploy.Diagnostics{Code: code, Script: r.Script, Message: r.Message, Log: r.Log}}
}
