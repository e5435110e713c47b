// How many files go into one request, and how many requests are under way.

// Splits sizes in bytes into groups of indices: at most `count` each, and at most `bytes` together unless one is alone.
export function groupsOf(sizes, count, bytes) {
  const groups = [];
  let held = Infinity;
  for (const [index, size] of sizes.entries()) {
    if (held + size > bytes || groups.at(-1).length >= count) {
      groups.push([]);
      held = 0;
    }
    groups.at(-1).push(index);
    held += size;
  }
  return groups;
}

// Runs at most so many tasks at a time, the first that came first.
export class Limiter {
  constructor(limit) {
    this.free = limit;
    this.waiting = [];
  }

  async run(task) {
    if (this.free > 0) this.free -= 1;
    else await new Promise((resolve) => this.waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free += 1;
    }
  }
}
