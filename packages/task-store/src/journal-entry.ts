import type { TaskEvent } from '@comfy-balancer/contract/event'

/** An event as the scripts write it: its instant is Redis milliseconds. */
export type JournalEntry = Omit<TaskEvent, 'at'> & { readonly at: number }

/** The event of a journal entry. */
export const readEvent = (entry: JournalEntry): TaskEvent => ({ ...entry, at: new Date(entry.at).toISOString() })
