package wine

import (
	"maps"
	"testing"
)

// TestWindowsVariables checks what becomes of variables that mean two things.
func TestWindowsVariables(t *testing.T) {
	for _, test := range []struct{ given, want map[string]string }{
		{map[string]string{"PATH": `C:\tools;D:\bin`}, map[string]string{"WINEPATH": `C:\tools;D:\bin`}},
		{map[string]string{"Path": `D:`}, map[string]string{"WINEPATH": `D:`}},
		{map[string]string{"PATH": `D:\a`, "WINEPATH": `E:\b`}, map[string]string{"WINEPATH": `D:\a;E:\b`}},
		{map[string]string{"PATH": "/usr/bin:/bin", "HOME": "/root", "tmp": "/tmp"}, map[string]string{"PATH": "/usr/bin:/bin"}},
		{map[string]string{"TEMP": `D:/t`, "Home": `D:\h`, "TEMPO": "1"}, map[string]string{"WINETEMP": `D:/t`, "WINEHOME": `D:\h`, "TEMPO": "1"}},
	} {
		got := maps.Clone(test.given)
		if windowsVariables(got); !maps.Equal(got, test.want) {
			t.Errorf("%q becomes %q, want %q", test.given, got, test.want)
		}
	}
}

// TestNameIn checks which names of an image's passwd become those of Windows users.
func TestNameIn(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\nbroken\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\nbob:x:1000:1:\n" +
		"../up:x:1:1::/:\nPUBLIC:x:2:2::/:\na/b:x:3:3::/:\nfar-too-long-for-a-user:x:4:4::/:\n:x:5:5::/:\nend:x:6:6"
	for uid, want := range map[string]string{"0": "root", "1000": "alice", "1": "1", "2": "2", "3": "3", "4": "4", "5": "5", "6": "end", "7": "7"} {
		if got := nameIn(passwd, uid); got != want {
			t.Errorf("%s: %q, want %q", uid, got, want)
		}
	}
}

// FuzzNameIn checks that no passwd gives a name that leads elsewhere.
func FuzzNameIn(f *testing.F) {
	f.Add("root:x:0:0::/root:/bin/sh\n")
	f.Add("..:x:0:0\n")
	f.Fuzz(func(t *testing.T, passwd string) {
		if name := nameIn(passwd, "0"); checkName(name) != nil || name == "" {
			t.Errorf("%q gives %q", passwd, name)
		}
	})
}

// TestLocale checks which locale variables ask for.
func TestLocale(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want locale
		ok   bool
	}{
		{nil, "C.UTF-8", true},
		{map[string]string{"LANG": "de_DE.UTF-8"}, "de_DE.UTF-8", true},
		{map[string]string{"LANG": "de_DE", "LC_MESSAGES": "fr_FR@euro"}, "fr_FR.UTF-8@euro", true},
		{map[string]string{"LANG": "de_DE", "LC_ALL": "C"}, "C.UTF-8", true},
		{map[string]string{"LC_ALL": "POSIX"}, "C.UTF-8", true},
		{map[string]string{"LANG": "sr_RS.UTF-8@latin"}, "sr_RS.UTF-8@latin", true},
		{map[string]string{"LANG": "es_419"}, "es_419.UTF-8", true},
		{map[string]string{"LANG": "../../etc"}, "C.UTF-8", false},
		{map[string]string{"LANG": "german"}, "C.UTF-8", false},
	} {
		if got, ok := localeOf(test.env); got != test.want || ok != test.ok {
			t.Errorf("%q: %q, %t; want %q, %t", test.env, got, ok, test.want, test.ok)
		}
	}
}

// TestZoneName checks what counts as a rule.
func TestZoneName(t *testing.T) {
	for zone, want := range map[string]bool{
		"UTC0": false, "CET-1CEST,M3.5.0,M10.5.0/3": false, "<+0530>-5:30": false, "EST5EDT": false, "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1": false,
		"Europe/Berlin": true, "Etc/GMT+5": true, "UTC": true, "CET": true, "../x": true, "Japan": true,
	} {
		if got := zoneName(zone); got != want {
			t.Errorf("%s: %t", zone, got)
		}
	}
}

// TestParseDrives checks the annotation io.winbox.drives.
func TestParseDrives(t *testing.T) {
	for text, want := range map[string]int{"": 0, "z=/": 1, "Z:=/,y=/srv/x/": 2, "c=/": -1, "z": -1, "z=srv": -1, "zz=/": -1, "z=/,Z=/a": -1, "1=/": -1, "z=/,": -1} {
		switch got, err := parseDrives(text); {
		case want < 0 && err == nil, want >= 0 && (err != nil || len(got) != want):
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
