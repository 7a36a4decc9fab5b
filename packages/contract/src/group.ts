import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { Task } from './task.ts'

/** Group ids are `group_` and a time-ordered UUID. */
export const GroupId = Type.String({ pattern: '^group_[0-9a-z]{32}$', description: 'group_ and 32 hexadecimal digits' })

const Count = Type.Integer({ minimum: 0 })

/** How many tasks of a group are in which state; `gone` ones are past their retention. */
export type GroupCounts = Static<typeof GroupCounts>
export const GroupCounts = named(
  'GroupCounts',
  Type.Object({
    queued: Count,
    running: Count,
    succeeded: Count,
    failed: Count,
    cancelled: Count,
    expired: Count,
    gone: Count
  })
)

/** The tasks that one request gave: all accepted together, each running for itself. */
export type Group = Static<typeof Group>
export const Group = named(
  'Group',
  Type.Object({
    id: GroupId,
    createdAt: Instant,
    finishedAt: nullable(Instant),
    total: Type.Integer({ minimum: 1 }),
    counts: ref(GroupCounts),
    percent: Type.Integer({ minimum: 0, maximum: 100, description: 'Mean of its tasks; an ended one counts as 100' }),
    tasks: Type.Array(ref(Task), { description: 'In the order of the request, without those past their retention' }),
    links: Type.Object({ self: Type.String(), tasks: Type.String(), events: Type.String() })
  })
)
