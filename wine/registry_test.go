package wine

import (
	"strings"
	"testing"
)

const sampleRegistry = `WINE REGISTRY Version 2
;; All keys relative to REGISTRY\\Machine

#arch=win64

[Software\\Classes\\.chm] 1795332765
#time=1dd7a53aa8de44a
@="chm.file"

[Software\\Classes\\Wow6432Node\\AppId] 1795332760
#time=1dd7a53a7d59d2e
#link
"SymbolicLinkValue"=hex(6):5c,00,52,00,65,00,\
  00,5c,00,4d,00

[Software\\Test] 1795332760
#time=1dd7a53a7d59d2e
"back\\slash"="C:\\windows\\"
"number"=dword:0000000a
"quo\"te"="=\"x\""
"text"=str(2):"%SystemRoot%\\x"
`

func parse(t *testing.T, text string) *registry {
	t.Helper()
	r, err := parseRegistry([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistryRoundTrip(t *testing.T) {
	if got := string(parse(t, sampleRegistry).Bytes()); got != sampleRegistry {
		t.Errorf("read and written, it is another:\n%s", got)
	}
}

func TestRegistrySet(t *testing.T) {
	r := parse(t, sampleRegistry)
	r.set(`software\TEST`, "Number", regDword(11))
	r.set(`Software\Test`, `back\slash`, regString(`D:\`))
	r.set(`Software\Test`, "", regString("default"))
	r.set(`Software\New\Key`, "new", regString(`a "b"`))
	r.deleteKey(`Software\Classes\Wow6432Node`)
	got := string(parse(t, string(r.Bytes())).Bytes())
	for _, want := range []string{
		"[Software\\\\Test] 1795332760\n#time=1dd7a53a7d59d2e\n\"back\\\\slash\"=\"D:\\\\\"\n\"Number\"=dword:0000000b\n",
		"@=\"default\"\n",
		"[Software\\\\New\\\\Key] 0\n\"new\"=\"a \\\"b\\\"\"\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"SymbolicLinkValue", "dword:0000000a", "Wow6432Node"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("still has %q", unwanted)
		}
	}
}

func TestRegistryRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"other file":    "REGEDIT4\n",
		"empty":         "",
		"broken key":    registrySignature + "\n\n[Software\n",
		"no value":      registrySignature + "\n\n[Software] 1\nwhat\n",
		"open name":     registrySignature + "\n\n[Software] 1\n\"what\n",
		"missing equal": registrySignature + "\n\n[Software] 1\n\"what\"\n",
	} {
		if _, err := parseRegistry([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEditSystem(t *testing.T) {
	const key = `Software\Microsoft\Windows NT\CurrentVersion`
	seven := parse(t, registrySignature+"\n\n[Software\\\\Microsoft\\\\Windows NT\\\\CurrentVersion] 1\n\"CurrentVersion\"=\"6.1\"\n")
	editSystem(seven)
	text := string(seven.Bytes())
	for _, want := range []string{`"CurrentMajorVersionNumber"=dword:0000000a`, `"CurrentVersion"="10.0"`, `"Debugger"="C:\\windows\\winbox-crash.exe %ld %ld"`, `"ComputerName"="WINBOX"`} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s", want)
		}
	}
	ten := parse(t, registrySignature+"\n\n[Software\\\\Microsoft\\\\Windows NT\\\\CurrentVersion] 1\n\"CurrentBuild\"=\"19045\"\n\"CurrentMajorVersionNumber\"=dword:0000000a\n")
	editSystem(ten)
	if s := ten.find(key); s == nil || s.has("ProductName") || !strings.Contains(string(ten.Bytes()), "19045") {
		t.Errorf("a prefix that says Windows 10 was changed:\n%s", ten.Bytes())
	}
}

// TestEditSystemShared has the interfaces of 32-bit libraries lead to those of the others, once.
func TestEditSystemShared(t *testing.T) {
	const head = registrySignature + "\n\n[Software\\\\Classes\\\\Interface\\\\{1}] 1\n@=\"one\"\n"
	for name, part := range map[string]string{
		"keys":  "\n[Software\\\\Classes\\\\Wow6432Node\\\\Interface\\\\{1}] 1\n@=\"one\"\n",
		"empty": "\n[Software\\\\Classes\\\\Wow6432Node\\\\Interface] 1\n",
		"link":  "\n[Software\\\\Classes\\\\Wow6432Node\\\\Interface] 1\n#link\n\"SymbolicLinkValue\"=" + regLink(`\Registry\Machine\Software\Classes\Interface`) + "\n",
	} {
		r := parse(t, head+part)
		editSystem(r)
		below := r.below(`Software\Classes\Wow6432Node\Interface`)
		if len(below) != 1 || len(below[0].marks) != 1 || !below[0].isLink() || r.get(`Software\Classes\Wow6432Node\Interface`, "SymbolicLinkValue") == "" ||
			len(r.below(`Software\Classes\Interface`)) != 1 {
			t.Errorf("%s:\n%s", name, r.Bytes())
		}
	}
	r := parse(t, registrySignature+"\n\n[Software] 1\n")
	if editSystem(r); r.below(`Software\Classes`) != nil {
		t.Errorf("a link to nothing:\n%s", r.Bytes())
	}
}

func TestComputerName(t *testing.T) {
	for host, want := range map[string]string{"winbox": "WINBOX", "a.example.org": "A", "a-very-long-host-name": "A-VERY-LONG-HOS", "": ""} {
		if got := computerName(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}
