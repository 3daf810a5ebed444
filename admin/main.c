/* main.c - postern: the command line tool of a host. Everything is in commands.c. */
#include "admin/admin.h"

int main(int argc, char **argv)
{
	return admin_main(argc, argv);
}
