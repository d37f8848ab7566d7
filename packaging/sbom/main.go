// Command sbom lists what a built program consists of, as a CycloneDX document. It reads the modules from the program
// itself, so the list cannot differ from what was linked.
//
//	go run ./packaging/sbom PROGRAM NAME VERSION > sbom.cdx.json
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM NAME VERSION")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

type document struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	Expression string `json:"expression"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

func write(w io.Writer, program, name, version string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("cannot read what %q is made of: %w", program, err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", program, err)
	}
	licenses, err := licensesOf(info.Deps)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	main := component{
		Type: "application", Ref: name + "@" + version, Name: name, Version: version,
		Hashes:     []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		Licenses:   []license{{"Apache-2.0"}},
		Properties: settings(info),
	}
	doc := document{
		Format: "CycloneDX", SpecVersion: "1.5", SerialNumber: serial(sum), Version: 1,
		Metadata: metadata{main}, Components: components(info, licenses),
	}
	direct := dependency{Ref: main.Ref, DependsOn: []string{}}
	for _, c := range doc.Components {
		direct.DependsOn = append(direct.DependsOn, c.Ref)
	}
	doc.Dependencies = []dependency{direct}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(doc)
}

// components lists the standard library and the modules, in the order of their names.
func components(info *debug.BuildInfo, licenses map[string]string) []component {
	goVersion := strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")
	cs := []component{{
		Type: "library", Ref: "pkg:golang/stdlib@" + goVersion, Name: "stdlib", Version: goVersion,
		PURL: "pkg:golang/stdlib@" + goVersion, Licenses: []license{{"BSD-3-Clause"}},
	}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		c := component{
			Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl,
			Properties: []property{{"go:sum", m.Sum}},
		}
		if l := licenses[m.Path]; l != "" {
			c.Licenses = []license{{l}}
		}
		cs = append(cs, c)
	}
	slices.SortFunc(cs, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	return cs
}

// settings are the facts about the build that say which machine the program is for.
func settings(info *debug.BuildInfo) []property {
	var ps []property
	for _, s := range info.Settings {
		if s.Key == "GOARCH" || s.Key == "GOOS" || s.Key == "CGO_ENABLED" {
			ps = append(ps, property{"go:" + s.Key, s.Value})
		}
	}
	return ps
}

// serial makes a UUID of the program's digest: the same program has the same list.
func serial(sum [32]byte) string {
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80 // version 8: made by a rule of our own
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// licensesOf reads the modules' licences where the go command keeps their source. A module that is not there has none.
func licensesOf(modules []*debug.Module) (map[string]string, error) {
	if len(modules) == 0 {
		return nil, nil
	}
	args := []string{"list", "-m", "-f", "{{.Path}}\t{{.Dir}}"}
	for _, m := range modules {
		args = append(args, m.Path)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find the source of the modules: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if ok {
			found[path] = licenseIn(dir)
		}
	}
	return found, nil
}

func licenseIn(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "LICEN[CS]E*"))
	more, _ := filepath.Glob(filepath.Join(dir, "COPYING*"))
	var ids []string
	for _, f := range append(files, more...) {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, id := range identify(string(text)) {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " AND ")
}

// identify names the well-known licences by sentences that only they have.
func identify(text string) []string {
	text = strings.Join(strings.Fields(text), " ")
	var ids []string
	if strings.Contains(text, "Apache License") {
		ids = append(ids, "Apache-2.0")
	}
	if strings.Contains(text, "Mozilla Public License") {
		ids = append(ids, "MPL-2.0")
	}
	if strings.Contains(text, "Permission is hereby granted, free of charge, to any person obtaining a copy") {
		ids = append(ids, "MIT")
	}
	if strings.Contains(text, "Permission to use, copy, modify, and") && strings.Contains(text, "for any purpose with or without fee") {
		ids = append(ids, "ISC")
	}
	if strings.Contains(text, "Redistribution and use in source and binary forms") {
		if strings.Contains(text, "used to endorse or promote products") {
			ids = append(ids, "BSD-3-Clause")
		} else {
			ids = append(ids, "BSD-2-Clause")
		}
	}
	return ids
}
