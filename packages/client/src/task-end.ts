import type { TaskState } from '@comfy-balancer/contract/task'

/** Whether a task in this state will never change again. */
export const isFinished = (state: TaskState): boolean => state !== 'queued' && state !== 'running'
