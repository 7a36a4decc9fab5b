/** Counts who follows in this process: event streams, sockets and each of their subscriptions. */
export type Followers = ReturnType<typeof createFollowers>

/** Bounds how many may follow at once. */
export const createFollowers = (limit: number) => {
  let count = 0
  return {
    limit,
    /** Lets one more in and returns how to leave, once; undefined when the place is full. */
    join: (): (() => void) | undefined => {
      if (count >= limit) return undefined
      count++
      return () => {
        count--
      }
    }
  }
}
