import type { GroupCounts } from '@comfy-balancer/contract/group'
import type { TaskState } from '@comfy-balancer/contract/task'

/** How far one task of a group is. */
export type GroupMember = { readonly state: TaskState; readonly percent: number }

/** Counts a group's tasks by state and says how far all of them are together. Of `total`, those not among `members` are past their retention. */
export const groupProgress = (
  total: number,
  members: readonly GroupMember[]
): { readonly counts: GroupCounts; readonly percent: number } => {
  const gone = total - members.length
  const counts = { queued: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0, expired: 0, gone }
  for (const { state } of members) counts[state] += 1
  const sum = members.reduce((percent, member) => percent + percentOf(member), gone * 100)
  return { counts, percent: Math.floor(sum / total) }
}

const percentOf = ({ state, percent }: GroupMember): number => {
  if (state === 'queued') return 0
  return state === 'running' ? percent : 100
}
