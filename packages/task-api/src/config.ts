import { Type } from '@sinclair/typebox'

/** The variables of every service that takes tasks; spread them into its schema. */
export const taskApiConfig = {
  TASK_TIMEOUT_SECONDS: Type.Integer({ minimum: 1, maximum: 86_400, default: 600, description: 'Of one attempt' }),
  TASK_DEADLINE_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 604_800,
    default: 604_800,
    description: 'From acceptance to the end, for tasks that name none'
  }),
  GROUP_MAX_TASKS: Type.Integer({
    minimum: 1,
    maximum: 1_000,
    default: 100,
    description: 'Tasks that one request may give, by count or as a list'
  }),
  TEMPLATES_DIR: Type.Optional(
    Type.String({ description: 'Folder of templates that every tenant sees: <name>.json, each as one would PUT it' })
  ),
  MAX_FOLLOWERS: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 10_000,
    description: 'Event streams, sockets and their subscriptions, at once in this process'
  })
}
