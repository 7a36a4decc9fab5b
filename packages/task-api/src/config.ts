import { Type } from '@sinclair/typebox'

/** The variables of every service that takes tasks and hands out outputs; spread them into its schema. */
export const taskApiConfig = {
  OUTPUT_STORE: Type.String({
    default: 'folder:outputs',
    pattern: '^folder:.+$',
    rule: 'must be folder:<path>, a folder that all services share',
    description: 'Where outputs are kept'
  }),
  TASK_TIMEOUT_SECONDS: Type.Integer({ minimum: 1, maximum: 86_400, default: 600, description: 'Of one attempt' }),
  TASK_DEADLINE_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 604_800,
    default: 604_800,
    description: 'From acceptance to the end, for tasks that name none'
  })
}
