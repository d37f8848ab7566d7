package behaviour

import (
	"crypto"
	"encoding/json"
	"fmt"
	"os"

	"codedeploy-agent/internal/stub"
	"codedeploy-agent/internal/stub/cms"
)

// accepted is a case about a message that is unusual and sound.
func accepted(name string, o cms.Options) Case {
	return Case{Name: "1: accepted: " + name, Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		c := h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: h.Specification(r, nil), Signing: o})
		h.Same("status", stub.Succeeded, c.Status)
	}}
}

// forged is a case about a message that must not be believed: nothing of it is carried out.
func forged(name string, o cms.Options) Case {
	return Case{Name: "1: refused: " + name, Run: func(h *Host) {
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		c := h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: h.Specification(r, nil), Signing: o})
		h.refusedUnread(c)
	}}
}

// refusedUnread fails the case unless the command was reported as failed, once, and nothing of it was done.
func (h *Host) refusedUnread(c stub.Command) {
	h.Helper()
	h.Same("operations", []string{getSpecification, complete}, h.Operations(c))
	h.Failure(h.Diagnostics(c), 5, "", `(?i)sign|specification`)
	h.Same("downloads", 0, h.downloads())
	h.Same("a folder for it", false, h.Exists(h.Root("a-group-id")))
}

var _ = add(Security,
	accepted("SHA-1", cms.Options{Digest: crypto.SHA1}),
	accepted("SHA-384", cms.Options{Digest: crypto.SHA384}),
	accepted("SHA-512", cms.Options{Digest: crypto.SHA512}),
	accepted("a single primitive octet string", cms.Options{Segment: -1}),
	accepted("segments of one byte", cms.Options{Segment: 1}),
	accepted("segments inside segments", cms.Options{Nested: true, Segment: 16}),
	accepted("indefinite lengths", cms.Options{Indefinite: true}),
	accepted("indefinite lengths with nested segments", cms.Options{Indefinite: true, Nested: true, Segment: 7}),
	accepted("a signature over the content itself", cms.Options{NoAttributes: true}),
	accepted("PEM with the label CMS", cms.Options{Encoding: cms.PEMCMS}),
	accepted("bare base64", cms.Options{Encoding: cms.Base64}),
	forged("content that was changed after it was signed", cms.Options{Flaw: cms.ContentChanged}),
	forged("a digest of another content", cms.Options{Flaw: cms.WrongDigest}),
	forged("one bit of the signature turned over", cms.Options{Flaw: cms.WrongSignature}),
	forged("a signature by another key than the certificate's", cms.Options{Flaw: cms.ForeignKey}),
	forged("content without a signature", cms.Options{Flaw: cms.NoSigner}),
	forged("a signature without its certificate", cms.Options{Flaw: cms.NoCertificate}),
	forged("a signature without content", cms.Options{Flaw: cms.NoContent}),
	forged("a message that is cut off", cms.Options{Flaw: cms.Cut}),
	forged("changed content, signed without attributes", cms.Options{Flaw: cms.ContentChanged, NoAttributes: true}),
	forged("changed content with indefinite lengths", cms.Options{Flaw: cms.ContentChanged, Indefinite: true}),

	Case{Name: "1: an unsigned specification is refused under every environment", Run: func(h *Host) {
		for _, name := range []string{
			"CODEDEPLOY_DEVELOPER_MODE", "CODEDEPLOY_LOCAL", "CODEDEPLOY_TEST", "DEVELOPER_MODE", "DEBUG", "AWS_CODEDEPLOY_DEVELOPER_MODE", "CODEDEPLOY_ALLOW_UNSIGNED",
		} {
			h.Setenv(name, "true")
		}
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		text, err := json.Marshal(h.Specification(r, nil))
		if err != nil {
			h.Fatal(err)
		}
		for _, format := range []string{"TEXT/JSON", "JSON", "text/json", "PKCS7/JSON"} {
			h.refusedUnread(h.Carry(stub.RawCommand{Name: "DownloadBundle", Format: format, Payload: string(text)}))
		}
	}},
	Case{Name: "1: with signer_ca_file the signer must come from that authority: good", Run: func(h *Host) {
		h.Service(stub.Options{})
		h.writeAuthority("ca.pem", h.Twin.SignerCA())
		h.Set("signer_ca_file", h.Path("ca.pem"))
		h.Start()
		h.Succeed(stub.DeployOptions{Events: []string{"DownloadBundle"}, Revision: h.Push(withHooks("hooks: {}\n"))})
	}},
	Case{Name: "1: with signer_ca_file the signer must come from that authority: another's is refused", Run: func(h *Host) {
		other, err := cms.NewSigner()
		if err != nil {
			h.Fatal(err)
		}
		h.Service(stub.Options{})
		h.writeAuthority("ca.pem", other.Authority())
		h.Set("signer_ca_file", h.Path("ca.pem"))
		h.Start()
		r := h.Push(withHooks("hooks: {}\n"))
		h.refusedUnread(h.Carry(stub.RawCommand{Name: "DownloadBundle", Specification: h.Specification(r, nil)}))
	}},
	Case{Name: "1: a signer_ca_file that is not there or empty keeps the agent from starting, with a reason", Run: func(h *Host) {
		for i, path := range []string{h.Path("nowhere.pem"), h.Path("empty.pem")} {
			h.Write("empty.pem", "")
			h.Set("signer_ca_file", path)
			h.Start()
			code, said := h.Exit()
			h.Same(fmt.Sprint("ended well, ", i), false, code == 0)
			h.Matches("what it says", `signer_ca_file|\.pem`, said)
		}
	}},
)

func (h *Host) writeAuthority(name string, pem []byte) {
	h.Helper()
	if err := os.WriteFile(h.Path(name), pem, 0o644); err != nil {
		h.Fatal(err)
	}
}
