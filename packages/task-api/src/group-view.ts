import type { Group } from '@comfy-balancer/contract/group'
import type { Task } from '@comfy-balancer/contract/task'
import { groupProgress } from '@comfy-balancer/domain/group'
import type { GroupRecord } from '@comfy-balancer/task-store/tasks'

/** A group as its caller sees it; `tasks` are those that are not past their retention. */
export const viewGroup = (group: GroupRecord, tasks: Task[]): Group => {
  const total = group.tasks.length
  const members = tasks.map(({ state, progress }) => ({ state, percent: progress?.percent ?? 0 }))
  const { counts, percent } = groupProgress(total, members)
  const isOngoing = counts.queued + counts.running > 0
  const ends = tasks.flatMap(({ finishedAt }) => finishedAt ?? [])
  return {
    id: group.id,
    createdAt: new Date(group.createdMs).toISOString(),
    finishedAt: isOngoing ? null : (ends.sort().at(-1) ?? null),
    total,
    counts,
    percent,
    tasks,
    links: {
      self: `/api/v1/groups/${group.id}`,
      tasks: `/api/v1/tasks?group=${group.id}`,
      events: `/api/v1/groups/${group.id}/events`
    }
  }
}
