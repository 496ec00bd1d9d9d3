/*
 * A COM server in a process of its own, and its client. /RegServer registers it; /Embedding, which COM adds, serves; without
 * an argument it asks the server for its process id, by IPersist: the first number of the class id that this returns.
 */
#define COBJMACROS
#define INITGUID
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <ole2.h>

DEFINE_GUID(CLSID_Sample, 0x7d3a5c10, 0x6f1e, 0x4b52, 0x9a, 0x0c, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66);
#define SAMPLE "{7D3A5C10-6F1E-4B52-9A0C-112233445566}"

static HANDLE unused;

static HRESULT WINAPI query(IUnknown *self, REFIID id, void **out)
{
	*out = NULL;
	if (!IsEqualIID(id, &IID_IUnknown) && !IsEqualIID(id, &IID_IPersist))
		return E_NOINTERFACE;
	*out = self;
	IUnknown_AddRef(self);
	return S_OK;
}

/* There is one object, which ends with the process. */
static LONG references;

static ULONG WINAPI add(IUnknown *self)
{
	(void)self;
	return InterlockedIncrement(&references);
}

static ULONG WINAPI release(IUnknown *self)
{
	LONG left = InterlockedDecrement(&references);

	(void)self;
	if (!left)
		SetEvent(unused);
	return left;
}

static HRESULT WINAPI class_id(IPersist *self, CLSID *id)
{
	(void)self;
	*id = CLSID_Sample;
	id->Data1 = GetCurrentProcessId();
	return S_OK;
}

static IPersistVtbl persist_methods = { (void *)query, (void *)add, (void *)release, class_id };
static IPersist object = { &persist_methods };

static HRESULT WINAPI query_factory(IClassFactory *self, REFIID id, void **out)
{
	*out = IsEqualIID(id, &IID_IUnknown) || IsEqualIID(id, &IID_IClassFactory) ? self : NULL;
	return *out ? S_OK : E_NOINTERFACE;
}

static ULONG WINAPI count_factory(IClassFactory *self)
{
	(void)self;
	return 1;
}

static HRESULT WINAPI create(IClassFactory *self, IUnknown *outer, REFIID id, void **out)
{
	(void)self;
	return outer ? CLASS_E_NOAGGREGATION : query((IUnknown *)&object, id, out);
}

static HRESULT WINAPI lock(IClassFactory *self, BOOL on)
{
	(void)self, (void)on;
	return S_OK;
}

static IClassFactoryVtbl factory_methods = { query_factory, count_factory, count_factory, create, lock };
static IClassFactory factory = { &factory_methods };

static int serve(void)
{
	DWORD cookie;

	unused = CreateEventA(NULL, TRUE, FALSE, NULL);
	if (CoRegisterClassObject(&CLSID_Sample, (IUnknown *)&factory, CLSCTX_LOCAL_SERVER, REGCLS_MULTIPLEUSE, &cookie))
		return 1;
	WaitForSingleObject(unused, 30000);
	CoRevokeClassObject(cookie);
	return 0;
}

static int ask(void)
{
	IPersist *server = NULL;
	CLSID id;
	HRESULT result = CoCreateInstance(&CLSID_Sample, NULL, CLSCTX_LOCAL_SERVER, &IID_IPersist, (void **)&server);

	if (!result)
		result = IPersist_GetClassID(server, &id);
	if (result) {
		printf("failed: %08lx\n", result);
		return 1;
	}
	printf("%s\n", id.Data1 && id.Data1 != GetCurrentProcessId() && id.Data2 == CLSID_Sample.Data2 ? "another process" : "this process");
	IPersist_Release(server);
	return 0;
}

static int enrol(void)
{
	char path[MAX_PATH];

	GetModuleFileNameA(NULL, path, sizeof(path));
	return RegSetKeyValueA(HKEY_LOCAL_MACHINE, "Software\\Classes\\CLSID\\" SAMPLE "\\LocalServer32", NULL, REG_SZ, path, strlen(path) + 1);
}

int main(int argc, char **argv)
{
	int code;

	if (argc > 1 && !strcmp(argv[1], "/RegServer"))
		return enrol();
	CoInitializeEx(NULL, COINIT_MULTITHREADED);
	code = argc > 1 ? serve() : ask();
	CoUninitialize();
	return code;
}
