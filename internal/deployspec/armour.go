package deployspec

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// decodeArmour returns the binary message of a payload: a PEM block labelled PKCS7 or CMS, bare base64, or the bytes
// themselves. Nothing but blanks may follow it.
func decodeArmour(payload string) ([]byte, error) {
	text := strings.TrimLeft(strings.TrimPrefix(payload, "\ufeff"), " \t\r\n")
	switch {
	case text == "":
		return nil, errors.New("it is empty")
	case text[0] == tagSequence:
		return []byte(text), nil
	case strings.Contains(text, "-----BEGIN"):
		return decodePEM([]byte(text))
	}
	compact := strings.TrimRight(strings.Join(strings.Fields(text), ""), "=")
	message, err := base64.RawStdEncoding.DecodeString(compact)
	if err != nil {
		return nil, errors.New("it is neither PEM nor DER nor base64")
	}
	return message, nil
}

func decodePEM(text []byte) ([]byte, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("its PEM block is damaged")
	case block.Type != "PKCS7" && block.Type != "CMS":
		return nil, fmt.Errorf("its PEM block is labelled %s; \"PKCS7\" is expected", quote(block.Type))
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("something follows its PEM block")
	}
	return block.Bytes, nil
}
