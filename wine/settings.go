package wine

// windows10 is Windows 10, as `winecfg -v win10` of Wine 8 sets it. Real systems say 6.3 in CurrentVersion, but Wine 8 takes the
// version that it reports from there.
// Programs of today refuse the Windows 7 that a prefix of Wine 8 claims to be.
func windows10() []setting {
	return []setting{
		{"CSDVersion", regString("")},
		{"CurrentBuild", regString("18362")},
		{"CurrentBuildNumber", regString("18362")},
		{"CurrentVersion", regString("10.0")},
		{"CurrentMajorVersionNumber", regDword(10)},
		{"CurrentMinorVersionNumber", regDword(0)},
		{"ProductName", regString("Microsoft Windows 10")},
	}
}

// setting is a value of a registry key, as the registry files write it.
type setting struct{ name, text string }

// editSystem sets HKEY_LOCAL_MACHINE.
func editSystem(r *registry) {
	for _, software := range []string{`Software`, `Software\Wow6432Node`} {
		key := software + `\Microsoft\Windows NT\CurrentVersion`
		s := r.find(key)
		if s == nil {
			continue
		}
		if !s.has("CurrentMajorVersionNumber") { // a Wine that makes Windows 10 prefixes keeps its own numbers
			for _, v := range windows10() {
				r.set(key, v.name, v.text)
			}
			r.set(`System\CurrentControlSet\Control\Windows`, "CSDVersion", regDword(0))
		}
		// A crash must end the program with a line of what happened, not start a debugger on its standard output or show
		// a window. The numbers are those of the process and of an event.
		r.set(key+`\AeDebug`, "Debugger", regString(crashProgram+" %ld %ld"))
		r.set(key+`\AeDebug`, "Auto", regString("1"))
	}
	// What the registry says of these goes before the environment of a process: see windowsVariables.
	for _, set := range []string{"CurrentControlSet", "ControlSet001"} { // Wine 10 has a link and the other
		for _, name := range []string{"TEMP", "TMP"} {
			r.unset(`System\`+set+`\Control\Session Manager\Environment`, name)
		}
	}
	// What 64-bit and 32-bit libraries register of interfaces is the same. Wine keeps it twice, as it does classes, which
	// takes 1.9 MiB of the wineserver's memory; type libraries it keeps once, by such a link.
	const interfaces, interfaces32 = `Software\Classes\Interface`, `Software\Classes\Wow6432Node\Interface`
	if old := r.below(interfaces32); len(old) > 0 && !old[0].isLink() && len(r.below(interfaces)) > 0 {
		r.deleteKey(interfaces32)
		r.link(interfaces32, interfaces)
	}
	// Each process looks up the name of its time zone when it starts. Where containers are in UTC, which most are, that is
	// no work: the name is there, and no library has to be loaded, twice, to find it in the user's language.
	for _, zone := range utcNames {
		for _, name := range []string{"Std", "Dlt"} {
			if text := r.get(zonesKey+`\`+zone, name); text != "" {
				r.set(zonesKey+`\`+zone, "MUI_"+name, text)
			}
		}
	}
	r.set(`System\CurrentControlSet\Control\ComputerName\ComputerName`, "ComputerName", regString(computerName(Hostname)))
}

// editUser sets HKEY_CURRENT_USER.
func editUser(r *registry) {
	const overrides = `Software\Wine\DllOverrides`
	r.set(overrides, "wineboot.exe", regString("native")) // ours in system32, not Wine's own
	r.set(overrides, "explorer.exe", regString("native")) // ours in system32, which starts the one in windows if need be
	r.set(overrides, `C:\windows\explorer.exe`, regString("builtin"))
	r.set(overrides, "winemenubuilder.exe", regString("")) // no menus on a host's desktop
	r.set(overrides, "mscoree", regString(""))             // no question whether to download Mono
	r.set(overrides, "mshtml", regString(""))              // nor Gecko
	r.set(`Software\Wine\Drivers`, "Graphics", regString("null"))
	r.set(`Software\Wine\WineDbg`, "ShowCrashDialog", regDword(0))
	r.deleteKey(`Software\Wine\Fonts\External Fonts`)       // paths on the host
	const replacements = `Software\Wine\Fonts\Replacements` // where the runtime has these
	r.set(replacements, "Arial", regString("Liberation Sans"))
	r.set(replacements, "Times New Roman", regString("Liberation Serif"))
	r.set(replacements, "Courier New", regString("Liberation Mono"))
	r.unset("Environment", "TEMP") // as in editSystem
	r.unset("Environment", "TMP")
}

// computerName is the NetBIOS form of a host name.
func computerName(host string) string {
	name := []byte(host)
	for i, c := range name {
		if c == '.' {
			name = name[:i]
			break
		}
		if 'a' <= c && c <= 'z' {
			name[i] = c - 'a' + 'A'
		}
	}
	return string(name[:min(len(name), 15)])
}
