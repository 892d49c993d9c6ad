// SPDX-License-Identifier: Apache-2.0
/*
 * What a C programmer would write in an afternoon: map the image, descend the tree as the kernel's kho_radix_walk_tree()
 * does, and call back for every key. It trusts the tree, as the kernel does; pages are 4 KiB, and offsets are addresses.
 *
 *   walk count IMAGE ROOT    count the keys
 *   walk runs IMAGE ROOT     join neighbouring keys of one order into runs
 *   walk print IMAGE ROOT    print every key as "phys<TAB>order"
 *
 * The answer, and the seconds of the walk alone, go to stderr: "KEYS RUNS CHECKSUM SECONDS". What does not print is done
 * twice, and the second time counts: the first pays for mapping the image.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE_SHIFT = 12,
	PAGE_SIZE = 1 << PAGE_SHIFT,
	DEPTH = 6,
	TABLE_BITS = PAGE_SHIFT - 3,
	LEAF_BITS = PAGE_SHIFT + 3,
	WORDS = PAGE_SIZE / 8,
	ORDER_0_BIT = 64 - PAGE_SHIFT,
};

struct walk {
	const char *image;
	void (*key)(struct walk *walk, uint64_t key);
	uint64_t keys, runs, checksum;
	uint64_t start, end; /* of the run that is open */
	unsigned int order;
};

static uint64_t decode(uint64_t key, unsigned int *order)
{
	unsigned int order_bit = 63 - __builtin_clzll(key);

	*order = ORDER_0_BIT - order_bit;
	return key << (PAGE_SHIFT + *order);
}

static void count_key(struct walk *walk, uint64_t key)
{
	(void)key;
	walk->keys++;
}

static void close_run(struct walk *walk)
{
	if (walk->end == walk->start)
		return;
	walk->runs++;
	walk->checksum += walk->start ^ ((walk->end - walk->start) << 1) ^ walk->order;
}

static void join_key(struct walk *walk, uint64_t key)
{
	unsigned int order;
	uint64_t phys = decode(key, &order);

	walk->keys++;
	if (phys != walk->end || order != walk->order) {
		close_run(walk);
		walk->start = phys;
		walk->order = order;
	}
	walk->end = phys + ((uint64_t)PAGE_SIZE << order);
}

static void print_key(struct walk *walk, uint64_t key)
{
	unsigned int order;
	uint64_t phys = decode(key, &order);

	walk->keys++;
	printf("0x%" PRIx64 "\t%u\n", phys, order);
}

static void walk_leaf(struct walk *walk, const uint64_t *leaf, uint64_t prefix)
{
	for (unsigned int i = 0; i < WORDS; i++)
		for (uint64_t word = leaf[i]; word; word &= word - 1)
			walk->key(walk, prefix << LEAF_BITS | i << 6 | __builtin_ctzll(word));
}

static void walk_table(struct walk *walk, uint64_t phys, unsigned int level, uint64_t prefix)
{
	const uint64_t *slots = (const uint64_t *)(walk->image + phys);

	if (!level) {
		walk_leaf(walk, slots, prefix);
		return;
	}
	for (unsigned int slot = 0; slot < WORDS; slot++)
		if (slots[slot])
			walk_table(walk, slots[slot], level - 1, prefix << TABLE_BITS | slot);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct walk walk;
	struct stat file;
	const char *image;
	double begun;
	int fd, rounds;

	if (argc != 4) {
		fprintf(stderr, "usage: walk count|runs|print IMAGE ROOT\n");
		return 2;
	}
	fd = open(argv[2], O_RDONLY);
	if (fd < 0 || fstat(fd, &file) < 0) {
		perror(argv[2]);
		return 1;
	}
	image = mmap(NULL, file.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED) {
		perror(argv[2]);
		return 1;
	}
	rounds = !strcmp(argv[1], "print") ? 1 : 2;
	if (rounds == 1)
		printf("phys\torder\n");
	while (rounds--) {
		walk = (struct walk){ .image = image };
		walk.key = !strcmp(argv[1], "count") ? count_key : !strcmp(argv[1], "runs") ? join_key : print_key;
		begun = now();
		walk_table(&walk, strtoull(argv[3], NULL, 0), DEPTH - 1, 0);
		close_run(&walk);
		fflush(stdout);
	}
	fprintf(stderr, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %.6f\n", walk.keys, walk.runs, walk.checksum,
		now() - begun);
	return 0;
}
