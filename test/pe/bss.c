/* Takes 64 MiB to be loaded. */
static volatile char data[64 << 20];

int main(void)
{
	return data[0];
}
