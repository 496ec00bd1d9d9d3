/*
 * wineboot.exe for the minimal boot of winbox.
 *
 * The first process that is started from Unix in a Wine session runs C:\windows\system32\wineboot.exe --init and waits
 * for the event \KernelObjects\__wineboot_event. Wine's own program then fills the shared page of user data and the
 * volatile part of the registry, and starts the service manager and its services. This one fills the same and starts
 * nothing, but for the profile `auto` (auto.c) and persistent prefixes (keep.c). It imports ntdll and kernel32 only, which every process has: another DLL would
 * cost a load in each cold start.
 *
 * Where Wine asks its own tables, this asks the processor (CPUID) or the NT interface. What differs on purpose:
 *   - ~MHz is the nominal frequency that NtPowerInformation reports, without a measurement of the time stamp counter;
 *   - PF_RDWRFSGSBASE_AVAILABLE is never set;
 *   - HARDWARE\DEVICEMAP is not there: drivers make it;
 *   - HARDWARE\DESCRIPTION\System\BIOS has its values, but empty: they would name the host;
 *   - the DNS domain is what follows the first dot of the host name, without a look-up;
 *   - Run, RunOnce, RunServices, pending renames and wininit.ini are left alone.
 */
#include "auto.h"
#include "names.h"

#include <cpuid.h>

/* ---- strings ---- */

static BOOL equal(const WCHAR *a, const WCHAR *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static BOOL ends_with(const WCHAR *s, const WCHAR *end)
{
	size_t n = length(s), m = length(end);

	return n >= m && equal(s + n - m, end);
}

/* text is a string under construction in a fixed buffer; what does not fit is cut. */
struct text {
	WCHAR  s[256];
	size_t n;
};

static void add(struct text *t, const WCHAR *s)
{
	while (*s && t->n < COUNT(t->s) - 1)
		t->s[t->n++] = *s++;
	t->s[t->n] = 0;
}

static void add_number(struct text *t, ULONG value, unsigned base, unsigned digits)
{
	WCHAR    reversed[12], ordered[12];
	unsigned n = 0;

	do {
		reversed[n++] = L"0123456789abcdef"[value % base];
		value /= base;
	} while (value || n < digits);
	for (unsigned i = 0; i < n; i++)
		ordered[i] = reversed[n - 1 - i];
	ordered[n] = 0;
	add(t, ordered);
}

/* ---- registry ---- */

/* make_key opens or creates every level of a path below root. */
static HANDLE make_key(HANDLE root, const WCHAR *path)
{
	HANDLE key = root;

	while (*path) {
		size_t n = 0;
		while (path[n] && path[n] != '\\')
			n++;

		UNICODE_STRING    name = { (USHORT)(n * sizeof(WCHAR)), (USHORT)(n * sizeof(WCHAR)), (WCHAR *)path };
		OBJECT_ATTRIBUTES attr = attributes(key, &name);
		HANDLE            next = NULL;
		NTSTATUS          status = NtCreateKey(&next, KEY_ALL_ACCESS, &attr, 0, NULL, 0, NULL);

		if (key != root)
			NtClose(key);
		if (status)
			return NULL;
		key = next;
		path += n + (path[n] == '\\');
	}
	return key;
}

static void set(HANDLE key, const WCHAR *name, ULONG type, const void *data, size_t size)
{
	UNICODE_STRING n = name_of(name);

	if (key)
		NtSetValueKey(key, &n, 0, type, (PVOID)data, (ULONG)size);
}

static void set_string(HANDLE key, const WCHAR *name, const WCHAR *value)
{
	set(key, name, REG_SZ, value, (length(value) + 1) * sizeof(WCHAR));
}

static void set_number(HANDLE key, const WCHAR *name, ULONG value)
{
	set(key, name, REG_DWORD, &value, sizeof(value));
}

/* ---- processor ---- */

struct processor {
	struct cpu_information info;
	ULONG                  count;
	ULONG                  physical_pages;
	WCHAR                  vendor[13];
	WCHAR                  brand[49];
	struct text            identifier;
};

struct registers {
	unsigned a, b, c, d;
};

/* cpuid gives zeros for a leaf that the processor does not have. */
static struct registers cpuid(unsigned leaf, unsigned sub)
{
	struct registers r = { 0, 0, 0, 0 };

	if (__get_cpuid_max(leaf & 0x80000000u, NULL) >= leaf)
		__cpuid_count(leaf, sub, r.a, r.b, r.c, r.d);
	return r;
}

static void describe_processor(struct processor *p)
{
	struct registers         id = cpuid(0, 0), version = cpuid(1, 0);
	struct basic_information basic = { 0 };
	unsigned                 parts[3] = { id.b, id.d, id.c };

	NtQuerySystemInformation(SystemBasicInformation, &basic, sizeof(basic), NULL);
	NtQuerySystemInformation(SYSTEM_CPU_INFORMATION_CLASS, &p->info, sizeof(p->info), NULL);
	p->count = (UCHAR)basic.processors;
	p->physical_pages = basic.physical_pages;

	for (unsigned i = 0; i < 12; i++)
		p->vendor[i] = (UCHAR)(parts[i / 4] >> (i % 4 * 8));
	p->vendor[12] = 0;
	for (unsigned part = 0; part < 3; part++) { /* a virtual machine's CPUID is slow: each leaf is read once */
		struct registers r = cpuid(0x80000002 + part, 0);
		unsigned         words[4] = { r.a, r.b, r.c, r.d };
		for (unsigned i = 0; i < 16; i++)
			p->brand[part * 16 + i] = (UCHAR)(words[i / 4] >> (i % 4 * 8));
	}
	p->brand[48] = 0;

	/* Family, model and stepping as Intel's and AMD's manuals say: the extended parts count for some families only. */
	unsigned family = version.a >> 8 & 0xf, model = version.a >> 4 & 0xf;
	if (family == 6 || family == 15)
		model |= version.a >> 12 & 0xf0;
	if (family == 15)
		family += version.a >> 20 & 0xff;
	p->identifier.n = 0;
	add(&p->identifier, p->vendor[0] == 'A' && p->vendor[7] == 'i' ? L"AMD64" : L"Intel64"); /* Authent i cAMD */
	add(&p->identifier, L" Family ");
	add_number(&p->identifier, family, 10, 1);
	add(&p->identifier, L" Model ");
	add_number(&p->identifier, model, 10, 1);
	add(&p->identifier, L" Stepping ");
	add_number(&p->identifier, version.a & 0xf, 10, 1);
}

/* ---- the shared page ---- */

static void fill_features(BOOLEAN *has)
{
	struct registers base = cpuid(1, 0), seven = cpuid(7, 0), extended = cpuid(0x80000001, 0), svm = cpuid(0x8000000a, 0);
	BOOL             saves = base.c >> 27 & 1; /* OSXSAVE: the system switches the extended registers */

	has[PF_COMPARE_EXCHANGE_DOUBLE] = base.d >> 8 & 1;
	has[PF_MMX_INSTRUCTIONS_AVAILABLE] = base.d >> 23 & 1;
	has[PF_XMMI_INSTRUCTIONS_AVAILABLE] = base.d >> 25 & 1;
	has[PF_3DNOW_INSTRUCTIONS_AVAILABLE] = extended.d >> 31 & 1;
	has[PF_RDTSC_INSTRUCTION_AVAILABLE] = base.d >> 4 & 1;
	has[PF_PAE_ENABLED] = base.d >> 6 & 1;
	has[PF_XMMI64_INSTRUCTIONS_AVAILABLE] = base.d >> 26 & 1;
	has[PF_SSE_DAZ_MODE_AVAILABLE] = base.d >> 26 & 1; /* every x86-64 processor has it */
	has[PF_NX_ENABLED] = extended.d >> 20 & 1;
	has[PF_SSE3_INSTRUCTIONS_AVAILABLE] = base.c & 1;
	has[PF_COMPARE_EXCHANGE128] = base.c >> 13 & 1;
	has[PF_XSAVE_ENABLED] = saves;
	has[PF_SECOND_LEVEL_ADDRESS_TRANSLATION] = svm.d & 1;
	has[PF_VIRT_FIRMWARE_ENABLED] = extended.c >> 2 & 1;
	/* PF_RDWRFSGSBASE_AVAILABLE stays off: CPUID does not say whether the kernel allows the instructions. */
	has[PF_FASTFAIL_AVAILABLE] = TRUE;
	has[PF_SSSE3_INSTRUCTIONS_AVAILABLE] = base.c >> 9 & 1;
	has[PF_SSE4_1_INSTRUCTIONS_AVAILABLE] = base.c >> 19 & 1;
	has[PF_SSE4_2_INSTRUCTIONS_AVAILABLE] = base.c >> 20 & 1;
	has[PF_AVX_INSTRUCTIONS_AVAILABLE] = saves && base.c >> 28 & 1;
	has[PF_AVX2_INSTRUCTIONS_AVAILABLE] = saves && seven.b >> 5 & 1;
}

/* fill_xstate describes the XSAVE area up to AVX, the part that every Wine since 5.x can switch. The layout of these
 * three components is fixed by the architecture (Intel SDM volume 1, 13.4). */
static void fill_xstate(struct xstate *x)
{
	enum { LEGACY = 160, SSE = 256, HEADER = 64, AVX = 256, AVX_OFFSET = 512 + HEADER };
	struct registers all = cpuid(13, 0), options = cpuid(13, 1);

	if (!(all.a & 4))
		return;
	x->enabled = x->enabled_volatile = 7;
	x->size = AVX_OFFSET + AVX;
	x->flags = options.a & 3;
	x->all_size = all.b;
	x->features[0].size = x->all_sizes[0] = LEGACY;
	x->features[1].size = x->all_sizes[1] = SSE;
	x->features[1].offset = LEGACY;
	x->features[2].size = x->all_sizes[2] = AVX;
	x->features[2].offset = AVX_OFFSET;
}

static void fill_shared_page(const struct processor *p)
{
	UNICODE_STRING         name = name_of(L"\\KernelObjects\\__wine_user_shared_data");
	OBJECT_ATTRIBUTES      attr = attributes(NULL, &name);
	RTL_OSVERSIONINFOEXW   version = { .dwOSVersionInfoSize = sizeof(version) };
	static const WCHAR     root[] = L"C:\\windows";
	HANDLE                 section;
	SIZE_T                 size = KUSD_SIZE;
	void                  *view = NULL;

	if (NtOpenSection(&section, SECTION_ALL_ACCESS, &attr))
		return;
	if (!NtMapViewOfSection(section, this_process, &view, 0, 0, NULL, &size, 2 /* ViewUnmap */, 0, PAGE_READWRITE)) {
		UCHAR *page = view;

		RtlGetVersion((PRTL_OSVERSIONINFOW)&version);
		*(ULONG *)(page + KUSD_TICK_MULTIPLIER) = 1 << 24;
		memcpy(page + KUSD_SYSTEM_ROOT, root, sizeof(root));
		*(ULONG *)(page + KUSD_LARGE_PAGE) = 2 << 20;
		*(ULONG *)(page + KUSD_BUILD_NUMBER) = version.dwBuildNumber;
		*(ULONG *)(page + KUSD_PRODUCT_TYPE) = version.wProductType;
		page[KUSD_PRODUCT_VALID] = TRUE;
		*(USHORT *)(page + KUSD_ARCHITECTURE) = p->info.architecture;
		*(ULONG *)(page + KUSD_MAJOR_VERSION) = version.dwMajorVersion;
		*(ULONG *)(page + KUSD_MINOR_VERSION) = version.dwMinorVersion;
		*(ULONG *)(page + KUSD_SUITE_MASK) = version.wSuiteMask;
		page[KUSD_NX_POLICY] = NX_POLICY_OPT_IN;
		*(ULONG *)(page + KUSD_PHYSICAL_PAGES) = p->physical_pages;
		*(ULONG *)(page + KUSD_PROCESSORS) = p->count;
		page[KUSD_GROUPS] = 1;
		fill_features(page + KUSD_FEATURES);
		if (page[KUSD_FEATURES + PF_AVX_INSTRUCTIONS_AVAILABLE])
			fill_xstate((struct xstate *)(page + KUSD_XSTATE));
		NtUnmapViewOfSection(this_process, view);
	}
	NtClose(section);
}

static HANDLE open_root(const WCHAR *path)
{
	UNICODE_STRING    name = name_of(path);
	OBJECT_ATTRIBUTES attr = attributes(NULL, &name);
	HANDLE            key = NULL;

	NtCreateKey(&key, KEY_ALL_ACCESS, &attr, 0, NULL, 0, NULL);
	return key;
}

/* ---- what the registry says of this host and this user ---- */

/*
 * Windows makes these keys anew at each boot. Here they stay in the registry, with a text beside each group that tells
 * what it was made of: a boot that would make the same leaves it alone. The template has been booted once, and so a
 * container finds all there, unless it is on other processors, or has another host or user name.
 */
#define FILLED L"Software\\Wine\\Winbox"

static BOOL is_filled(HANDLE key, const WCHAR *group, const struct text *of)
{
	UNICODE_STRING name = name_of(group);
	UCHAR                                buffer[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(of->s)] __attribute__((aligned(8)));
	const KEY_VALUE_PARTIAL_INFORMATION *value = (const void *)buffer;
	const UCHAR                         *have = value->Data, *want = (const UCHAR *)of->s;
	ULONG                                size;

	if (!key || NtQueryValueKey(key, &name, KEY_VALUE_PARTIAL, buffer, sizeof(buffer), &size) ||
	    value->DataLength != (of->n + 1) * sizeof(WCHAR))
		return FALSE;
	for (ULONG i = 0; i < value->DataLength; i++)
		if (have[i] != want[i])
			return FALSE;
	return TRUE;
}

/* remove_from removes the keys that are called like this number and the ones after it. */
static void remove_from(HANDLE parent, ULONG number)
{
	for (;; number++) {
		struct text       text = { .n = 0 };
		HANDLE            key;

		add_number(&text, number, 10, 1);
		UNICODE_STRING    name = name_of(text.s);
		OBJECT_ATTRIBUTES attr = attributes(parent, &name);
		if (NtOpenKey(&key, KEY_ALL_ACCESS, &attr))
			return;
		NtDeleteKey(key);
		NtClose(key);
	}
}

static void fill_hardware(HANDLE machine, const struct processor *p)
{
	static const WCHAR *const bios_strings[] = {
		L"BaseBoardManufacturer", L"BaseBoardProduct", L"BaseBoardVersion", L"BIOSVendor", L"BIOSVersion",
		L"BIOSReleaseDate", L"SystemManufacturer", L"SystemProductName", L"SystemVersion", L"SystemSKU", L"SystemFamily",
	};
	static const WCHAR *const bios_numbers[] = {
		L"BiosMajorRelease", L"BiosMinorRelease", L"ECFirmwareMajorVersion", L"ECFirmwareMinorVersion",
	};
	static struct power_information power[1024];
	HANDLE system = make_key(machine, L"Hardware\\Description\\System");
	ULONG  count = p->count < COUNT(power) ? p->count : COUNT(power);

	if (!system)
		return;
	if (NtPowerInformation(ProcessorInformation, NULL, 0, power, count * sizeof(power[0])))
		power[0].max_mhz = 0;
	set_string(system, L"Identifier", L"AT compatible");

	HANDLE cpus = make_key(system, L"CentralProcessor");
	HANDLE fpus = make_key(system, L"FloatingPointProcessor");
	for (ULONG i = 0; i < count; i++) {
		struct text number = { .n = 0 };
		add_number(&number, i, 10, 1);
		HANDLE cpu = make_key(cpus, number.s);
		set_number(cpu, L"FeatureSet", p->info.feature_bits);
		set_string(cpu, L"Identifier", p->identifier.s);
		set_string(cpu, L"ProcessorNameString", p->brand);
		set_string(cpu, L"VendorIdentifier", p->vendor);
		set_number(cpu, L"~MHz", power[i].max_mhz);
		NtClose(cpu);
		HANDLE fpu = make_key(fpus, number.s);
		set_string(fpu, L"Identifier", p->identifier.s);
		NtClose(fpu);
	}
	remove_from(cpus, count);
	remove_from(fpus, count);
	NtClose(fpus);
	NtClose(cpus);

	HANDLE bios = make_key(system, L"BIOS");
	for (size_t i = 0; i < COUNT(bios_strings); i++)
		set_string(bios, bios_strings[i], L"");
	for (size_t i = 0; i < COUNT(bios_numbers); i++)
		set_number(bios, bios_numbers[i], 0xff); /* "not known" in SMBIOS 2.3 */
	NtClose(bios);
	NtClose(system);
}

static void fill_environment(HANDLE machine, const struct processor *p)
{
	HANDLE      key = make_key(machine, L"System\\CurrentControlSet\\Control\\Session Manager\\Environment");
	struct text count = { .n = 0 }, identifier = { .n = 0 }, level = { .n = 0 }, revision = { .n = 0 };

	add_number(&count, p->count, 10, 1);
	add(&identifier, p->identifier.s);
	add(&identifier, L", ");
	add(&identifier, p->vendor);
	add_number(&level, p->info.level, 10, 1);
	add_number(&revision, p->info.revision, 16, 4);
	set_string(key, L"NUMBER_OF_PROCESSORS", count.s);
	set_string(key, L"PROCESSOR_ARCHITECTURE", L"AMD64");
	set_string(key, L"PROCESSOR_IDENTIFIER", identifier.s);
	set_string(key, L"PROCESSOR_LEVEL", level.s);
	set_string(key, L"PROCESSOR_REVISION", revision.s);
	NtClose(key);
}

/* read_host_name asks the kernel by way of procfs: gethostname would load ws2_32 and what it needs. */
static void read_host_name(struct text *host, struct text *domain)
{
	UNICODE_STRING    name = name_of(L"\\??\\unix\\proc\\sys\\kernel\\hostname");
	OBJECT_ATTRIBUTES attr = attributes(NULL, &name);
	IO_STATUS_BLOCK   io = { { 0 }, 0 };
	HANDLE            file;
	char              bytes[128];
	struct text      *to = host;

	host->n = domain->n = 0;
	host->s[0] = domain->s[0] = 0;
	if (NtOpenFile(&file, GENERIC_READ | SYNCHRONIZE, &attr, &io, FILE_SHARE_READ | FILE_SHARE_WRITE,
	               FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE))
		return;
	if (NtReadFile(file, NULL, NULL, NULL, &io, bytes, sizeof(bytes), NULL, NULL))
		io.Information = 0;
	NtClose(file);
	for (ULONG_PTR i = 0; i < io.Information && bytes[i] != '\n'; i++) {
		WCHAR one[2] = { (UCHAR)bytes[i], 0 };
		if (to == host && bytes[i] == '.')
			to = domain;
		else
			add(to, one);
	}
}

/* fill_computer_name stores a NetBIOS name and what it was made of. */
static void fill_computer_name(HANDLE machine, const WCHAR *computer, const struct text *host, const struct text *domain)
{
	HANDLE tcpip = make_key(machine, L"System\\CurrentControlSet\\Services\\Tcpip\\Parameters");
	set_string(tcpip, L"Hostname", host->s);
	set_string(tcpip, L"Domain", domain->s);
	NtClose(tcpip);

	HANDLE names = make_key(machine, L"System\\CurrentControlSet\\Control\\ComputerName");
	HANDLE stored = make_key(names, L"ComputerName");
	set_string(stored, L"ComputerName", computer);
	NtClose(stored);
	HANDLE active = make_key(names, L"ActiveComputerName");
	set_string(active, L"ComputerName", computer);
	NtClose(active);
	NtClose(names);
}

static void fill_volatile_environment(HANDLE root, const WCHAR *name, const WCHAR *computer)
{
	struct text home = { .n = 0 }, roaming = { .n = 0 }, local = { .n = 0 }, server = { .n = 0 };
	HANDLE      key = make_key(root, L"Volatile Environment");

	add(&home, L"C:\\users\\");
	add(&home, name);
	add(&roaming, home.s);
	add(&roaming, L"\\AppData\\Roaming");
	add(&local, home.s);
	add(&local, L"\\AppData\\Local");
	add(&server, L"\\\\");
	add(&server, computer);
	set_string(key, L"APPDATA", roaming.s);
	set_string(key, L"CLIENTNAME", L"Console");
	set_string(key, L"HOMEDRIVE", L"C:");
	set_string(key, L"HOMEPATH", home.s + 2);
	set_string(key, L"HOMESHARE", L"");
	set_string(key, L"LOCALAPPDATA", local.s);
	set_string(key, L"LOGONSERVER", server.s);
	set_string(key, L"SESSIONNAME", L"Console");
	set_string(key, L"USERDOMAIN", computer);
	set_string(key, L"USERNAME", name);
	set_string(key, L"USERPROFILE", home.s);
	NtClose(key);
}

/* fill_machine makes the keys of HKEY_LOCAL_MACHINE, and gives the NetBIOS name: at most 15 characters in upper case. */
static void fill_machine(const struct processor *p, WCHAR computer[16])
{
	HANDLE      machine = open_root(L"\\Registry\\Machine"), filled;
	struct text processors = { .n = 0 }, names = { .n = 0 }, host, domain;
	size_t      n;

	read_host_name(&host, &domain);
	for (n = 0; n < 15 && host.s[n]; n++)
		computer[n] = host.s[n] >= 'a' && host.s[n] <= 'z' ? host.s[n] - 32 : host.s[n];
	computer[n] = 0;
	if (!machine)
		return;
	add_number(&processors, p->count, 10, 1);
	add(&processors, L" ");
	add(&processors, p->brand);
	add(&processors, L", ");
	add(&processors, p->vendor);
	add(&processors, L" ");
	add(&processors, p->identifier.s);
	add(&processors, L", ");
	add_number(&processors, p->info.level, 16, 4);
	add_number(&processors, p->info.revision, 16, 4);
	add_number(&processors, p->info.feature_bits, 16, 8);
	add(&names, host.s);
	add(&names, L".");
	add(&names, domain.s);

	filled = make_key(machine, FILLED);
	if (!is_filled(filled, L"Processors", &processors)) {
		fill_hardware(machine, p);
		fill_environment(machine, p);
		set_string(filled, L"Processors", processors.s);
	}
	if (computer[0] && !is_filled(filled, L"Names", &names)) {
		fill_computer_name(machine, computer, &host, &domain);
		set_string(filled, L"Names", names.s);
	}
	NtClose(filled);
	NtClose(machine);
}

/* fill_user makes those of HKEY_CURRENT_USER. */
static void fill_user(const WCHAR *computer)
{
	UNICODE_STRING user;
	WCHAR          name[64];
	struct text    names = { .n = 0 };

	if (RtlFormatCurrentUserKeyPath(&user))
		return;
	OBJECT_ATTRIBUTES attr = attributes(NULL, &user);
	HANDLE            root, filled;
	if (NtOpenKey(&root, KEY_ALL_ACCESS, &attr))
		return;
	environment(L"WINEUSERNAME", name, COUNT(name));
	add(&names, computer);
	add(&names, L"\\");
	add(&names, name);
	filled = make_key(root, FILLED);
	if (!is_filled(filled, L"Names", &names)) {
		fill_volatile_environment(root, name, computer);
		set_string(filled, L"Names", names.s);
	}
	NtClose(filled);
	NtClose(root);
}

ULONG link_drives(HANDLE links[26])
{
	WCHAR          folder[] = L"\\??\\A:\\", name[] = L"\\??\\A:";
	struct text    volume = { .n = 0 };
	UNICODE_STRING folder_name = name_of(folder), link_name = name_of(name);
	ULONG          found = 0, number = 0;

	for (int i = 0; i < 26; i++) {
		OBJECT_ATTRIBUTES      attr = attributes(NULL, &folder_name);
		FILE_BASIC_INFORMATION info;
		HANDLE                 link;

		folder[4] = name[4] = (WCHAR)('A' + i);
		if (NtQueryAttributesFile(&attr, &info))
			continue;
		found |= 1u << i;
		volume.n = 0;
		add(&volume, L"\\Device\\HarddiskVolume");
		add_number(&volume, ++number, 10, 1);
		UNICODE_STRING target = name_of(volume.s);
		attr = attributes(NULL, &link_name);
		if (!links)
			attr.Attributes |= OBJ_PERMANENT;
		if (NtCreateSymbolicLinkObject(&link, STANDARD_RIGHTS_REQUIRED, &attr, &target))
			continue;
		if (links)
			links[i] = link;
		else
			NtClose(link);
	}
	return found;
}

/* start_volumes starts the program that answers for volumes (volumes.c) when this session is to have one, and waits until it
 * does. It has no standard streams. */
static void start_volumes(void)
{
	static const WCHAR  program[] = L"C:\\windows\\system32\\winbox-volumes.exe";
	static WCHAR        have[26 * 44 + 1];
	STARTUPINFOW        startup = { .cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES };
	PROCESS_INFORMATION process;
	UNICODE_STRING      name = name_of(L"\\KernelObjects\\winbox_volumes");
	OBJECT_ATTRIBUTES   attr = attributes(NULL, &name);
	HANDLE              events[2];

	environment(L"WINBOX_VOLUMES", have, COUNT(have));
	if (!have[0] || NtCreateEvent(&events[0], EVENT_ALL_ACCESS, &attr, 0 /* NotificationEvent */, FALSE) < 0)
		return;
	startup.hStdInput = startup.hStdOutput = startup.hStdError = INVALID_HANDLE_VALUE;
	if (CreateProcessW(program, NULL, NULL, NULL, FALSE, DETACHED_PROCESS, NULL, NULL, &startup, &process)) {
		events[1] = process.hProcess;
		WaitForMultipleObjects(2, events, FALSE, INFINITE);
		CloseHandle(process.hThread);
		CloseHandle(process.hProcess);
	}
	NtClose(events[0]);
}

/* set_link makes a symbolic link of the registry lead elsewhere. */
static void set_link(HANDLE machine, const WCHAR *path, const WCHAR *target)
{
	UNICODE_STRING    name = name_of(path), value = name_of(L"SymbolicLinkValue");
	OBJECT_ATTRIBUTES attr = attributes(machine, &name);
	HANDLE            key;

	attr.Attributes = OBJ_CASE_INSENSITIVE | OBJ_OPENLINK;
	if (NtOpenKey(&key, KEY_SET_VALUE, &attr))
		return;
	NtSetValueKey(key, &value, 0, REG_LINK, (void *)target, (ULONG)(length(target) * sizeof(WCHAR)));
	NtClose(key);
}

#define TIME_ZONES L"Software\\Microsoft\\Windows NT\\CurrentVersion\\Time Zones"

/* load_late brings in what a lean prefix keeps out of its registry (lean.go in the folder above). */
static void load_late(HANDLE machine)
{
	enum { RESTORE_PRIVILEGE = 18 };
	static const struct {
		const WCHAR *key, *file;
	} late[] = {
		{ L"Software\\Classes\\CLSID", L"\\??\\C:\\windows\\winbox\\clsid.reg" },
		{ L"Software\\Classes\\Interface", L"\\??\\C:\\windows\\winbox\\interface.reg" },
		{ L"Software\\Classes\\Wow6432Node\\CLSID", L"\\??\\C:\\windows\\winbox\\clsid32.reg" },
		{ L"Software\\Classes\\Wow6432Node\\Interface", L"\\??\\C:\\windows\\winbox\\interface32.reg" },
		{ L"Software\\Classes\\MIME", L"\\??\\C:\\windows\\winbox\\mime.reg" },
		{ L"Software\\Classes\\Typelib", L"\\??\\C:\\windows\\winbox\\typelib.reg" },
		{ L"Software\\Classes\\MediaFoundation", L"\\??\\C:\\windows\\winbox\\media.reg" },
		{ L"Software\\Classes\\DirectShow", L"\\??\\C:\\windows\\winbox\\show.reg" },
		{ L"Software\\Microsoft\\Windows\\CurrentVersion\\Telephony\\Country List", L"\\??\\C:\\windows\\winbox\\telephony.reg" },
		{ L"Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\FolderDescriptions", L"\\??\\C:\\windows\\winbox\\folders.reg" },
		{ L"Software\\Microsoft\\Cryptography\\OID\\EncodingType 0", L"\\??\\C:\\windows\\winbox\\oid0.reg" },
		{ L"Software\\Microsoft\\Cryptography\\OID\\EncodingType 1", L"\\??\\C:\\windows\\winbox\\oid1.reg" },
		{ L"Software\\Microsoft\\Cryptography\\Providers\\Trust", L"\\??\\C:\\windows\\winbox\\providers.reg" },
		{ TIME_ZONES L" (all)", L"\\??\\C:\\windows\\winbox\\zones.reg" },
	};
	BOOLEAN before;

	if (RtlAdjustPrivilege(RESTORE_PRIVILEGE, TRUE, FALSE, &before))
		return;
	for (size_t i = 0; i < COUNT(late); i++) {
		UNICODE_STRING    key_name = name_of(late[i].key), file_name = name_of(late[i].file);
		OBJECT_ATTRIBUTES key = attributes(machine, &key_name), file = attributes(NULL, &file_name);
		NtLoadKey(&key, &file);
	}
	/* At no moment is there no key of zones: every process looks for its own when it starts. */
	set_link(machine, TIME_ZONES, L"\\Registry\\Machine\\" TIME_ZONES L" (all)");
}

/* keep_booted puts a permanent event in the place of one that would go when nobody has it open any more. As it stays,
 * whoever is started from Unix later finds that the session has been booted, and does not boot it again. */
static void keep_booted(HANDLE event, OBJECT_ATTRIBUTES *attr)
{
	LARGE_INTEGER wait = { .QuadPart = -10000LL /* 1 ms */ };

	attr->Attributes = OBJ_CASE_INSENSITIVE | OBJ_PERMANENT;
	for (int tries = 0; tries < 100; tries++) {
		NtClose(event);
		if (NtCreateEvent(&event, EVENT_ALL_ACCESS, attr, 0 /* NotificationEvent */, TRUE) >= 0)
			return;
		/* The process that waited for it has it still open. So does this one, lest it goes in between. */
		attr->Attributes ^= OBJ_PERMANENT | OBJ_OPENIF;
		NtCreateEvent(&event, EVENT_ALL_ACCESS, attr, 0 /* NotificationEvent */, TRUE);
		attr->Attributes ^= OBJ_PERMANENT | OBJ_OPENIF;
		NtDelayExecution(FALSE, &wait);
	}
}

void start(void)
{
	static struct processor cpu;
	UNICODE_STRING          name = name_of(L"\\KernelObjects\\__wineboot_event");
	OBJECT_ATTRIBUTES       attr = attributes(NULL, &name);
	HANDLE                  event = NULL, dynamic;
	WCHAR                   computer[16], profile[8];
	HANDLE                  pipe = NULL;
	UNICODE_STRING          folder = name_of(L"\\??\\C:\\windows\\winbox"); /* which only a lean prefix has */
	OBJECT_ATTRIBUTES       lean = attributes(NULL, &folder);
	FILE_BASIC_INFORMATION  info;
	LARGE_INTEGER           patience = { .QuadPart = -10000LL * 30 /* ms */ };

	/* Not the boot, but what completes a lean prefix when somebody asks for it (quota/library/registry.c). */
	if (ends_with(GetCommandLineW(), L" --registry")) {
		load_late(open_root(L"\\Registry\\Machine"));
		NtTerminateProcess(this_process, 0);
	}
	describe_processor(&cpu);
	fill_shared_page(&cpu);
	fill_machine(&cpu, computer);
	fill_user(computer);
	environment(L"WINBOX_BOOT", profile, COUNT(profile));
	if (equal(profile, L"auto"))
		pipe = watch();
	else {
		link_drives(NULL);
		start_volumes();
	}

	/* Whoever was started from Unix in the meantime waits for the event, not for this process. */
	if (NtCreateEvent(&event, EVENT_ALL_ACCESS, &attr, 0 /* NotificationEvent */, FALSE) >= 0)
		NtSetEvent(event, NULL);
	/* A relic of Windows 95, for whoever asks for performance data. */
	if ((dynamic = open_root(L"\\Registry\\DynData"))) {
		NtClose(make_key(dynamic, L"PerfStats\\StatData"));
		NtClose(make_key(dynamic, L"Config Manager\\Enum"));
		NtClose(dynamic);
	}
	/* A small program may be done before long, and then nothing of this has kept it. Who is started from Unix finds the event as
	 * long as this process has it. */
	if (!NtQueryAttributesFile(&lean, &info))
		NtDelayExecution(FALSE, &patience);
	keep_booted(event, &attr);
	environment(L"WINBOX_KEEP", profile, COUNT(profile));
	if (pipe) {
		if (profile[0])
			CloseHandle(CreateThread(NULL, 0, keep, NULL, 0, NULL));
		serve(pipe);
	} else if (profile[0])
		keep(NULL);
	NtTerminateProcess(this_process, 0);
}
