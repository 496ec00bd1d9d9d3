package wine

import (
	"slices"
	"strings"
	"testing"
)

func TestSettled(t *testing.T) {
	one := `WINE REGISTRY Version 2

[Software\\Microsoft\\Cryptography] 1795401871
#time=1dd7af4910d1b70
"MachineGuid"="76ed219b-33dd-43f1-ba9a-fcb7380fbf00"
"Other"="76ed219b-33dd-43f1-ba9a-fcb7380fbf01"

[System\\Video] 1795401872
#time=1dd7af4910d1b71
"DriverDateData"=hex:20,68,a5,8e,f4,7a,dd,01
"VideoID"="{02f60e1d-d453-4e0d-93c0-192db2374b4a}"
`
	other := strings.NewReplacer("17954018", "18954018", "1dd7af4", "1dd7af5", "76ed219b-33dd-43f1-ba9a-fcb7380fbf00", "4da1c481-2788-4704-99f1-b67315ccbbcc",
		"20,68", "3f,78", "{02f6", "{08bd").Replace(one)
	got := string(settled([]byte(one), "runtime"))
	if again := string(settled([]byte(other), "runtime")); again != got || other == one {
		t.Errorf("two makings make %s and %s", got, again)
	}
	if !strings.Contains(got, `"Other"="76ed219b-33dd-43f1-ba9a-fcb7380fbf01"`) {
		t.Errorf("it has other values: %s", got)
	}
	if r, err := parseRegistry([]byte(got)); err != nil || len(r.sections) != 2 {
		t.Errorf("%v: %s", err, got)
	}
	if string(settled([]byte(one), "another")) == got {
		t.Error("runtimes have the same identity")
	}
}

func TestCutImageEntry(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/bin/winbox init /app/a.exe -x":                                "/app/a.exe -x",
		"winbox init --annotation io.winbox.boot=auto --annotation a=b cmd": "cmd",
		"/usr/bin/winbox init":                                              "",
		"/app/a.exe init":                                                   "/app/a.exe init",
		"winbox":                                                            "winbox",
	} {
		if got := CutImageEntry(strings.Fields(command)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %s", command, got, want)
		}
	}
}
