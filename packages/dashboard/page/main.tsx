import { render } from 'preact'
import { App } from './app.tsx'
import { connectFleet } from './fleet-store.ts'

connectFleet()
render(<App />, document.getElementById('app')!)
