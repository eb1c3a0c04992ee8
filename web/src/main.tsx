// The page's start: theme first, then who is asking, then everything else.
import './styles/base.css';
import './styles/controls.css';
import './styles/page.css';
import { render } from 'preact';
import { start } from './session';
import { apply } from './theme';
import { App } from './ui/app';

apply();
const root = document.getElementById('app');
if (root) render(<App />, root);
void start();
addEventListener('hashchange', () => location.hash.includes('token=') && void start());
