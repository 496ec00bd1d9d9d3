package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"winbox/internal/diagnosis"
	"winbox/wine"
)

func TestPrintChecks(t *testing.T) {
	checks := []diagnosis.Check{
		{Area: "kernel", Name: "version", Status: diagnosis.OK, Found: "6.12.1"},
		{Area: "kernel", Name: "overlay", Status: diagnosis.Warn, Found: "not\x1b loaded", Remedy: "modprobe overlay"},
		{Area: "address space", Name: "vm.mmap_min_addr", Status: diagnosis.Fail, Found: "8388608", Remedy: "sysctl -w vm.mmap_min_addr=65536"},
	}
	var text, js bytes.Buffer
	if err := printChecks(&text, checks, false); err == nil || !strings.HasSuffix(err.Error(), ": address space: vm.mmap_min_addr") {
		t.Errorf("one has failed: %v", err)
	}
	golden(t, "doctor.txt", text.Bytes())
	if err := printChecks(&js, checks[:2], true); err != nil {
		t.Errorf("none has failed: %v", err)
	}
	var out struct {
		OK     bool
		Checks []diagnosis.Check
	}
	if err := json.Unmarshal(js.Bytes(), &out); err != nil || !out.OK || len(out.Checks) != 2 || out.Checks[1] != checks[1] {
		t.Errorf("%v: %s", err, js.String())
	}
}

func TestWineChecks(t *testing.T) {
	host := &wine.Runtime{Name: "host", Version: "8.0", WindowsDir: "/usr/lib/wine"}
	built := []wine.Record{{Name: "w", Wine: "10.0", WoW64: wine.WoW64New}}
	none := errors.New("no Wine")
	for _, tt := range []struct {
		name    string
		host    *wine.Runtime
		hostErr error
		built   []wine.Record
		listErr error
		want    string
	}{
		{"both", host, nil, built, nil, "ok ok ok"},
		{"host only", host, nil, nil, nil, "ok ok warn"},
		{"built only", nil, none, built, nil, "warn ok ok"},
		{"none", nil, none, nil, nil, "fail ok warn"},
		{"broken store", host, nil, nil, none, "ok warn warn"},
	} {
		var got []string
		for _, c := range wineChecks(tt.host, tt.hostErr, tt.built, tt.listErr) {
			got = append(got, string(c.Status))
			if c.Found == "" || (c.Remedy == "") != (c.Status == diagnosis.OK) {
				t.Errorf("%s: %+v", tt.name, c)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

func TestPlaceChecks(t *testing.T) {
	dir := t.TempDir()
	g := &globals{root: dir + "/not/yet", dataRoot: "/dev/null/none"}
	checks := g.placeChecks()
	if checks[0].Status != diagnosis.OK || checks[1].Status != diagnosis.Fail {
		t.Errorf("%+v", checks)
	}
}
