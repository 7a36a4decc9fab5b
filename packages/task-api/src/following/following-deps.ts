import type { TaskApiDeps } from '../deps.ts'
import type { Waits } from '../waits.ts'
import type { Followers } from './followers.ts'

/** What the routes that follow tasks are built from. */
export type FollowingDeps = { readonly deps: TaskApiDeps; readonly waits: Waits; readonly followers: Followers }
