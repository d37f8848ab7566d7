package stub

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"codedeploy-agent/internal/stub/fault"
	"codedeploy-agent/internal/stub/record"
	"codedeploy-agent/internal/stub/sigv4"
)

const (
	contentType = "application/x-amz-json-1.1"
	// The two API stacks: the prefix of the target and the name that signatures are for.
	legacyTarget  = "CodeDeployCommandService_v20141006."
	secureTarget  = "CodeDeployCommandService."
	legacySigning = "codedeploy-commands"
	secureSigning = "codedeploy-commands-secure"

	maxRequest     = 1 << 20
	maxDiagnostics = 8192
)

var executionPattern = regexp.MustCompile(`^[^/]+/[^/]+/[^/]+/.+$`)

var errClosed = errors.New("the local service is closed")

// wireError is an error as the service tells it.
type wireError struct {
	status        int
	code, message string
}

func (e *wireError) Error() string { return e.code + ": " + e.message }

func clientError(format string, args ...any) error {
	return &wireError{http.StatusBadRequest, "ClientException", fmt.Sprintf(format, args...)}
}

func refused(code, format string, args ...any) *wireError {
	return &wireError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// envelope is text with the name of its format.
type envelope struct {
	Format  string `json:"Format"`
	Payload string `json:"Payload"`
}

// input has the members of all operations.
type input struct {
	HostIdentifier          string
	HostCommandIdentifier   string
	DeploymentExecutionId   string
	CommandStatus           Status
	Diagnostics             *envelope
	EstimatedCompletionTime json.RawMessage
}

// commands speaks the protocol of the command service.
type commands struct {
	engine   *engine
	verifier sigv4.Verifier
	faults   *fault.Set
	log      *record.Log
}

type operation func(*commands, *http.Request, input) (any, error)

var operations = map[string]operation{
	"PollHostCommand":               (*commands).poll,
	"GetDeploymentSpecification":    (*commands).specification,
	"PutHostCommandAcknowledgement": (*commands).acknowledge,
	"PutHostCommandComplete":        (*commands).complete,
	"PostHostCommandUpdate":         (*commands).update,
}

func (c *commands) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pending, w := c.log.Begin(w, r, "commands")
	defer pending.End()
	name, signing := splitTarget(r.Header.Get("X-Amz-Target"))
	pending.Note(func(e *record.Request) { e.Operation = name })
	fail := func(w http.ResponseWriter, err error) {
		code := writeWireError(w, err)
		pending.Note(func(e *record.Request) { e.Error = code })
	}
	body, in, key, err := c.admit(r, name, signing)
	hostID := cmp.Or(in.HostIdentifier, c.engine.hostOf(in.HostCommandIdentifier), key.Owner)
	pending.Note(func(e *record.Request) {
		e.AccessKeyID, e.Host = key.ID, hostID
		if json.Valid(body) {
			e.Input = bytes.Clone(body)
		}
	})
	if err != nil {
		fail(w, err)
		return
	}
	struck := c.faults.Take(fault.Request{Service: "commands", Operation: name, Host: hostID})
	pending.Note(func(e *record.Request) { e.Fault = string(struck.Kind) })
	refuse := func(w http.ResponseWriter, status int, code, message string) {
		if code == "" {
			code = "ServerException"
			if status < 500 {
				code = "ClientException"
			}
		}
		fail(w, &wireError{status, code, message})
	}
	struck.Serve(w, r, refuse, func(w http.ResponseWriter) {
		out, err := operations[name](c, r, in)
		if err != nil {
			fail(w, err)
			return
		}
		answer := writeAnswer(w, out)
		pending.Note(func(e *record.Request) { e.Output = answer })
	})
}

func splitTarget(target string) (operation, signing string) {
	if name, ok := strings.CutPrefix(target, legacyTarget); ok {
		return name, legacySigning
	}
	if name, ok := strings.CutPrefix(target, secureTarget); ok {
		return name, secureSigning
	}
	return target, ""
}

// admit checks everything that does not depend on the state: operation, signature, form.
func (c *commands) admit(r *http.Request, name, signing string) (body []byte, in input, key sigv4.Key, err error) {
	body, err = io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil:
		return body, in, key, refused("ClientException", "the request cannot be read: %v", err)
	case len(body) > maxRequest:
		return nil, in, key, &wireError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "the request is too long"}
	case r.Method != http.MethodPost || operations[name] == nil || signing == "":
		return body, in, key, refused("UnknownOperationException", "there is no operation %q", name)
	case r.Header.Get("Content-Type") != contentType:
		return body, in, key, refused("UnknownOperationException", "the content type must be %s", contentType)
	}
	signed, err := c.verifier.Verify(r, hexSum(body), signing)
	if err != nil {
		return body, in, key, signatureError(err)
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return body, in, signed.Key, refused("SerializationException", "the body cannot be read: %v", err)
	}
	if owner := signed.Key.Owner; owner != "" && in.HostIdentifier != "" && in.HostIdentifier != owner {
		return body, in, signed.Key, refused("AccessDeniedException", "%s is not authorized to act as %s", owner, in.HostIdentifier)
	}
	return body, in, signed.Key, in.check(name)
}

func signatureError(err error) error {
	var bad *sigv4.Error
	if !errors.As(err, &bad) {
		return err
	}
	code := "InvalidSignatureException"
	switch bad.Reason {
	case sigv4.Missing:
		code = "MissingAuthenticationTokenException"
	case sigv4.Incomplete:
		code = "IncompleteSignatureException"
	case sigv4.UnknownKey, sigv4.BadToken:
		code = "UnrecognizedClientException"
	case sigv4.Expired:
		code = "ExpiredTokenException"
	}
	return refused(code, "%s", bad.Message)
}

// check knows which members an operation needs.
func (in input) check(operation string) error {
	needs := map[string]string{}
	switch operation {
	case "PollHostCommand":
		needs["HostIdentifier"] = in.HostIdentifier
	case "GetDeploymentSpecification":
		needs["HostIdentifier"], needs["DeploymentExecutionId"] = in.HostIdentifier, in.DeploymentExecutionId
	case "PutHostCommandComplete":
		needs["CommandStatus"] = string(in.CommandStatus)
		fallthrough
	default:
		needs["HostCommandIdentifier"] = in.HostCommandIdentifier
	}
	for member, value := range needs {
		if value == "" {
			return clientError("%s is missing", member)
		}
	}
	if id := in.DeploymentExecutionId; id != "" && (!executionPattern.MatchString(id) || len(id) > 129) {
		return clientError("DeploymentExecutionId %q is not valid", id)
	}
	if d := in.Diagnostics; d != nil {
		if n := utf8.RuneCountInString(d.Payload); n > maxDiagnostics {
			return clientError("Diagnostics.Payload has %d characters, at most %d are allowed", n, maxDiagnostics)
		}
		if d.Format == "" || len(d.Format) > 64 {
			return clientError("Diagnostics.Format %q is not valid", d.Format)
		}
	}
	switch in.CommandStatus {
	case "", Pending, InProgress, Succeeded, Failed:
		return nil
	}
	return clientError("CommandStatus %q is not valid", in.CommandStatus)
}

func (c *commands) poll(r *http.Request, in input) (any, error) {
	found, err := c.engine.poll(r.Context(), in.HostIdentifier, r.Header.Get("X-Amz-Codedeploy-Agent-Version"))
	if err != nil {
		return nil, err
	}
	if found == nil {
		return map[string]any{"HostCommand": nil}, nil
	}
	return map[string]any{"HostCommand": map[string]any{
		"HostCommandIdentifier": found.ID, "HostIdentifier": cmp.Or(found.raw.HostIdentifier, found.Host),
		"DeploymentExecutionId": found.ExecutionID, "CommandName": found.Name, "Nonce": found.raw.Nonce,
	}}, nil
}

func (c *commands) specification(_ *http.Request, in input) (any, error) {
	system, env, err := c.engine.specification(in.DeploymentExecutionId, in.HostIdentifier)
	if err != nil {
		return nil, err
	}
	if env == nil {
		return map[string]any{"DeploymentSystem": system, "DeploymentSpecification": nil}, nil
	}
	return map[string]any{"DeploymentSystem": system, "DeploymentSpecification": map[string]any{"GenericEnvelope": env}}, nil
}

func (c *commands) acknowledge(_ *http.Request, in input) (any, error) {
	var says struct{ IsCommandNoop bool }
	if in.Diagnostics != nil {
		if err := json.Unmarshal([]byte(in.Diagnostics.Payload), &says); err != nil {
			return nil, clientError("Diagnostics.Payload cannot be read: %v", err)
		}
	}
	answer, err := c.engine.acknowledge(in.HostCommandIdentifier, says.IsCommandNoop)
	if err != nil {
		return nil, err
	}
	if answer == NoStatus {
		return map[string]any{}, nil
	}
	return map[string]any{"CommandStatus": answer}, nil
}

func (c *commands) complete(_ *http.Request, in input) (any, error) {
	if !in.CommandStatus.Ended() {
		return nil, clientError("CommandStatus %q does not complete a command", in.CommandStatus)
	}
	return nil, c.engine.complete(in.HostCommandIdentifier, in.CommandStatus, parseDiagnostics(in.Diagnostics))
}

func (c *commands) update(_ *http.Request, in input) (any, error) {
	status, err := c.engine.statusOf(in.HostCommandIdentifier)
	if err != nil {
		return nil, err
	}
	return map[string]any{"CommandStatus": status}, nil
}

func (e *engine) statusOf(id string) (Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.commands[id]
	if c == nil {
		return "", clientError("The host command identifier %s is not valid.", id)
	}
	return c.Status.onTheWire(), nil
}

// hostOf names the host of a command; it is empty when there is no such command.
func (e *engine) hostOf(commandID string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.commands[commandID]; c != nil {
		return c.Host
	}
	return ""
}

// writeAnswer sends the output, an empty body when there is none, and returns what it sent.
func writeAnswer(w http.ResponseWriter, out any) json.RawMessage {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", random(16))
	if out == nil {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	b, err := json.Marshal(out)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return nil
	}
	_, _ = w.Write(b)
	return b
}

func writeWireError(w http.ResponseWriter, err error) (code string) {
	var e *wireError
	if !errors.As(err, &e) {
		e = &wireError{http.StatusInternalServerError, "ServerException", err.Error()}
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", random(16))
	w.WriteHeader(e.status)
	b, _ := json.Marshal(map[string]string{"__type": "com.amazonaws.codedeploycommand#" + e.code, "message": e.message})
	_, _ = w.Write(b)
	return e.code
}
