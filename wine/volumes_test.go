package wine

import (
	"strings"
	"testing"

	"winbox/preload/pe"
	"winbox/preload/pe/petest"
)

// TestNeedsVolumes checks who gets answers about volumes.
func TestNeedsVolumes(t *testing.T) {
	for _, test := range []struct {
		imports, program, args string
		want                   bool
	}{
		{"GetVolumeInformationW", `D:\a.exe`, "", true},
		{"GetVolumeInformationA", `D:\a.exe`, "x", true},
		{"GetLogicalDrives", `D:\a.exe`, "", false},
		{"GetVolumeInformationW", `C:\windows\system32\CMD.EXE`, "", true},
		{"GetVolumeInformationW", `C:\windows\system32\cmd.exe`, "/c dir", true},
		{"GetVolumeInformationW", `C:\windows\system32\cmd.exe`, "/C build.BAT x", true},
		{"GetVolumeInformationW", `C:\windows\system32\cmd.exe`, "/c exit 3", false},
	} {
		for _, delayed := range []bool{false, true} {
			var made petest.Image
			list := []petest.Import{{DLL: "KERNEL32.dll", Functions: []string{"ExitProcess", test.imports}}}
			if made.Imports = list; delayed {
				made.Imports, made.DelayImports = nil, list
			}
			data := made.Bytes()
			image, err := pe.Open(strings.NewReader(string(data)), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			i := &Image{asksVolumes: asksVolumes(image)}
			if got := i.needsVolumes(test.program, strings.Fields(test.args)); got != test.want {
				t.Errorf("%s imports %s, %q: %t", test.program, test.imports, test.args, got)
			}
		}
	}
}

// TestVolumesSetting checks what the boot program is told, which cannot be more than it reads.
func TestVolumesSetting(t *testing.T) {
	got := volumesSetting([]volume{{letter: 'c', serial: 0x1a}, {letter: 'd', readOnly: true, serial: 0xdeadbeef, label: windowsLabel("My|: Data\x01\xff")}})
	if want := "WINBOX_VOLUMES=C00000001a|D1deadbeefMy Data"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if label := windowsLabel(strings.Repeat("ä", 100)); label != strings.Repeat("ä", 32) {
		t.Errorf("label %q", label)
	}
}
