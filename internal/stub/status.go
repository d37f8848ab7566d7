package stub

import (
	"encoding/json"
	"time"
)

// Status is the state of a command, an event, a host's part in a deployment, or a deployment.
type Status string

const (
	Created    Status = "Created"
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Succeeded  Status = "Succeeded"
	Failed     Status = "Failed"
	Skipped    Status = "Skipped"
	Stopped    Status = "Stopped"
	// NoStatus, as the answer to an acknowledgement, leaves the status out.
	NoStatus Status = "none"
)

// Ended tells whether the status is final.
func (s Status) Ended() bool {
	return s == Succeeded || s == Failed || s == Skipped || s == Stopped
}

// onTheWire is the status in the words that the protocol has: a command that was withdrawn has failed.
func (s Status) onTheWire() Status {
	if s == Stopped || s == Skipped {
		return Failed
	}
	return s
}

// Diagnostics are what an agent says about the end of a command.
type Diagnostics struct {
	// ErrorCode is 0 to 7; -1 when the agent sent none that can be read.
	ErrorCode int    `json:"error_code"`
	Script    string `json:"script_name"`
	Message   string `json:"message"`
	Log       string `json:"log"`
	// Payload is the text as it came.
	Payload string `json:"payload,omitempty"`
}

func parseDiagnostics(e *envelope) *Diagnostics {
	if e == nil {
		return nil
	}
	d := &Diagnostics{ErrorCode: -1, Payload: e.Payload}
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(e.Payload), &fields) != nil {
		return d
	}
	// Each field by itself: one agent sends a word where the code should be.
	_ = json.Unmarshal(fields["error_code"], &d.ErrorCode)
	_ = json.Unmarshal(fields["script_name"], &d.Script)
	_ = json.Unmarshal(fields["message"], &d.Message)
	_ = json.Unmarshal(fields["log"], &d.Log)
	return d
}

// Report is one PutHostCommandComplete.
type Report struct {
	Time        time.Time    `json:"time"`
	Status      Status       `json:"status"`
	Diagnostics *Diagnostics `json:"diagnostics,omitempty"`
	// Accepted is false for a report that contradicts an earlier one or comes too late.
	Accepted bool `json:"accepted"`
}

// Command is what is known of one host command.
type Command struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Host        string `json:"host"`
	ExecutionID string `json:"execution_id"`
	Deployment  string `json:"deployment,omitempty"`
	Status      Status `json:"status"`
	// Deliveries is how many polls got the command.
	Deliveries int `json:"deliveries"`
	// Acknowledgements is how many acknowledgements came; Noop is what the last one said, nil before.
	Acknowledgements int       `json:"acknowledgements"`
	Noop             *bool     `json:"noop,omitempty"`
	Reports          []Report  `json:"reports,omitempty"`
	Created          time.Time `json:"created"`
	Delivered        time.Time `json:"delivered,omitzero"`
	Acknowledged     time.Time `json:"acknowledged,omitzero"`
	Ended            time.Time `json:"ended,omitzero"`
	// Reason says why the service itself ended the command, for example a time limit.
	Reason string `json:"reason,omitempty"`
}

// Diagnostics returns those of the report that counts, or nil.
func (c Command) Diagnostics() *Diagnostics {
	for _, r := range c.Reports {
		if r.Accepted {
			return r.Diagnostics
		}
	}
	return nil
}
