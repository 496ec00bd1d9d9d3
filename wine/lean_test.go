package wine

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf16"

	"winbox/preload/pe/petest"
)

const wholeRegistry = registrySignature + `
;; All keys relative to REGISTRY\\Machine

#arch=win64

[Software\\Classes\\.txt] 1
@="txtfile"

[Software\\Classes\\CLSID] 2

[Software\\Classes\\CLSID\\{1}] 3
@="one"

[Software\\Classes\\CLSID\\{1}\\InprocServer32] 4
@="one.dll"

[Software\\Classes\\CLSIDs] 5

[Software\\Classes\\Wow6432Node\\Interface] 6
#link
"SymbolicLinkValue"=hex(6):5c,00

[Software\\Microsoft\\Windows NT\\CurrentVersion\\Time Zones] 7

[Software\\Microsoft\\Windows NT\\CurrentVersion\\Time Zones\\Greenwich Standard Time] 8
"Std"="Greenwich"

[Software\\Microsoft\\Windows NT\\CurrentVersion\\Time Zones\\Iran Standard Time] 9

[Software\\Microsoft\\Windows NT\\CurrentVersion\\Time Zones\\UTC] 10
`

func TestMakeLean(t *testing.T) {
	whole := parse(t, wholeRegistry)
	core, files, ok := makeLean(whole)
	if !ok {
		t.Fatal("no lean prefix")
	}
	if text := string(whole.Bytes()); text != wholeRegistry {
		t.Errorf("the whole registry has changed:\n%s", text)
	}
	const zones = `Software\\Microsoft\\Windows NT\\CurrentVersion\\Time Zones`
	var keys []string
	for _, s := range core.sections {
		keys = append(keys, s.key)
	}
	want := []string{`Software\\Classes\\.txt`, `Software\\Classes\\CLSIDs`, `Software\\Classes\\Wow6432Node\\Interface`,
		`Software\\Microsoft\\Windows NT\\CurrentVersion`, zones + ` (UTC)\\Greenwich Standard Time`, zones + ` (UTC)\\UTC`, zones}
	if strings.Join(keys, "\n") != strings.Join(want, "\n") {
		t.Errorf("the core has\n%s\nwant\n%s", strings.Join(keys, "\n"), strings.Join(want, "\n"))
	}
	link := core.find(zonesKey)
	var target []byte
	for _, u := range utf16.Encode([]rune(`\Registry\Machine\` + zonesKey + " (UTC)")) {
		target = append(target, byte(u), byte(u>>8))
	}
	var have []byte
	for _, pair := range strings.Split(strings.TrimPrefix(link.values[0].lines[0], `"SymbolicLinkValue"=hex(6):`), ",") {
		have = append(have, unhex(t, pair))
	}
	if !link.isLink() || !bytes.Equal(have, target) {
		t.Errorf("the zones' link is %q, %q", link.marks, link.values[0].lines)
	}
	head := strings.Join(whole.header, "\n") + "\n"
	for name, text := range map[string]string{
		"clsid.reg": head + "[CLSID] 2\n\n[CLSID\\\\{1}] 3\n@=\"one\"\n\n[CLSID\\\\{1}\\\\InprocServer32] 4\n@=\"one.dll\"\n",
		"zones.reg": head + "[Time Zones (all)] 7\n\n[Time Zones (all)\\\\Greenwich Standard Time] 8\n\"Std\"=\"Greenwich\"\n\n" +
			"[Time Zones (all)\\\\Iran Standard Time] 9\n\n[Time Zones (all)\\\\UTC] 10\n",
	} {
		if string(files[name]) != text {
			t.Errorf("%s is\n%s\nwant\n%s", name, files[name], text)
		}
		delete(files, name)
	}
	if len(files) > 0 {
		t.Errorf("more files: %v", files)
	}
	if _, _, ok := makeLean(parse(t, registrySignature+"\n\n[Software] 1\n")); ok {
		t.Error("a lean prefix of a registry without time zones")
	}
}

func unhex(t *testing.T, pair string) byte {
	t.Helper()
	const digits = "0123456789abcdef"
	if len(pair) != 2 {
		t.Fatalf("not a byte: %q", pair)
	}
	return byte(strings.IndexByte(digits, pair[0])<<4 | strings.IndexByte(digits, pair[1]))
}

func TestLean(t *testing.T) {
	wide := func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			b.Write([]byte{c, 0})
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		text string
		want bool
	}{
		"plain":                      {"KERNEL32.dll\x00msvcrt.dll\x00api-ms-win-crt-stdio-l1-1-0.dll\x00", true},
		"no library":                 {"", true},
		"COM":                        {"KERNEL32.dll\x00ole32.dll", false},
		"COM in capitals":            {"OLE32.DLL", false},
		"COM, two bytes each":        {wide("Ole32.dll"), false},
		"COM without suffix":         {"LoadLibrary ole32\x00", false},
		"its own library":            {"kernel32.dll\x00plugin.dll", false},
		"any library":                {"kernel32.dll\x00*.dll", false},
		"behind another string":      {"printf\x00msvcrt.dll\x00puts\x00KERNEL32.dll\x00", true},
		"behind one, two bytes each": {wide("printf\x00msvcrt.dll\x00puts\x00KERNEL32.dll\x00Ole32.dll"), false},
		"a longer name":              {"mykernel32.dll", false},
		"the key of classes":         {`reg query HKCR\CLSID\`, false},
		"a root key":                 {"HKEY_CLASSES_ROOT", false},
		"the key of types":           {wide(`MIME\Database`), false},
		"the key of zones":           {wide(`CurrentVersion\Time Zones`), false},
		"the zones' function":        {"GetDynamicTimeZoneInformation", false},
		"as large as can be":         {strings.Repeat("x", leanBytes), true},
		"larger than examined":       {strings.Repeat("x", leanBytes+1), false},
		"a program's header":         {string(petest.Image{}.Bytes()), true},
	} {
		if got := Lean(strings.NewReader(test.text)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	for _, test := range []struct {
		boot    Boot
		display Display
		env     []string
		want    bool
	}{
		{BootMinimal, Display{}, []string{"A=b"}, true},
		{BootMinimal, Display{}, []string{"TZ=UTC0"}, true},
		{BootAuto, Display{}, []string{"TZ=Etc/UTC"}, true},
		{BootMinimal, Display{}, []string{"TZ=Europe/Berlin"}, false},
		{BootMinimal, Display{Kind: DisplayVirtual}, []string{"TZ=UTC0"}, false},
		{BootFull, Display{}, []string{"TZ=UTC0"}, false},
	} {
		if got := leanFor(test.boot, test.display, test.env); got != test.want {
			t.Errorf("%s, %q: %v", test.boot, test.env, got)
		}
	}
}
