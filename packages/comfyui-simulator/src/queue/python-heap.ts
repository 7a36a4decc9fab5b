/** Adds an item as Python's `heapq.heappush` does. When `isBefore` throws, the item stays where the exception left it. */
export function heapPush<T>(heap: T[], item: T, isBefore: (left: T, right: T) => boolean): void {
  heap.push(item)
  siftDown(heap, 0, heap.length - 1, isBefore)
}

/** Takes the smallest item as `heapq.heappop` does. When `isBefore` throws, the item is lost and the heap half sorted. */
export function heapPop<T>(heap: T[], isBefore: (left: T, right: T) => boolean): T | undefined {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return last
  const first = heap[0] as T
  heap[0] = last
  siftUp(heap, isBefore)
  return first
}

/** Restores the heap order of a list, as `heapq.heapify` does. */
export function heapify<T>(heap: T[], isBefore: (left: T, right: T) => boolean): void {
  const items = heap.splice(0)
  for (const item of items) heapPush(heap, item, isBefore)
}

function siftDown<T>(heap: T[], start: number, from: number, isBefore: (left: T, right: T) => boolean): void {
  const item = heap[from] as T
  let position = from
  while (position > start) {
    const parent = (position - 1) >> 1
    if (!isBefore(item, heap[parent] as T)) break
    heap[position] = heap[parent] as T
    position = parent
  }
  heap[position] = item
}

function siftUp<T>(heap: T[], isBefore: (left: T, right: T) => boolean): void {
  const item = heap[0] as T
  let position = 0
  let child = 1
  while (child < heap.length) {
    const right = child + 1
    if (right < heap.length && !isBefore(heap[child] as T, heap[right] as T)) child = right
    heap[position] = heap[child] as T
    position = child
    child = 2 * position + 1
  }
  heap[position] = item
  siftDown(heap, 0, position, isBefore)
}
