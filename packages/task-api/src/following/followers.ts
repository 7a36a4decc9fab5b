import { Refusal } from '@comfy-balancer/service-kit/problems'

/** Counts who follows in this process: event streams (those of groups by their tasks), sockets and each of their subscriptions. */
export type Followers = ReturnType<typeof createFollowers>

/** Bounds how many may follow at once. */
export const createFollowers = (limit: number) => {
  let count = 0
  return {
    limit,
    /** Lets one more in, who may take several places, and returns how to leave, once; undefined when there is no room. */
    join: (places = 1): (() => void) | undefined => {
      if (count + places > limit) return undefined
      count += places
      return () => {
        count -= places
      }
    }
  }
}

/** Lets a stream in. Throws a Refusal when there is no room. */
export const joinOrRefuse = (followers: Followers, places: number): (() => void) => {
  const leave = followers.join(places)
  if (leave) return leave
  throw new Refusal('rate-limited', `${followers.limit} follow tasks here already; try another balancer`)
}
