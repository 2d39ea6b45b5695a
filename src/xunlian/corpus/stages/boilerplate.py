# ruff: noqa: E501  (patterns read better unbroken)
"""Lines that belong to a web site and not to its texts, in English and Chinese.

Only short lines are judged, and nearly always by how they begin: a sentence that merely mentions
cookies or copyright stays. Two strengths:

- `is_boilerplate`: no text of its own would hold such a line. Safe for any document.
- `is_page_furniture`: also captions, bylines, dates and menus, which are furniture when they stand
  in a web page, but may be text elsewhere. Only for what was extracted from HTML.
"""

import re

# A line is at most LONGEST characters, and within one no part of a pattern can be matched in two
# ways that both fail later: nothing a page holds makes these slow.

LONGEST = 120
"""Characters; a longer line is taken for text. (Chinese ones: no line of a site is so long.)"""
LONGEST_CAPTION = 600
"""Characters of a caption that ends with the name of an agency."""

# What a line begins with. The rest of the line may be anything, as lines are short.
_BEGIN_EN = (
    r"all rights reserved",
    r"(?:copyright|\(c\)|©)\s{0,2}(?:copyright\s{0,2})?(?:©|\(c\))?\s{0,2}(?:19|20)\d\d",
    r"copyright (?:©|\(c\)|by )",
    r"(?:we|this (?:web ?)?site|our (?:web ?)?site|this page) uses? cookies",
    r"by (?:continuing|using|browsing) (?:to (?:use|browse) )?(?:this|our) (?:web ?)?site",
    r"by (?:subscribing|signing up|submitting|choosing i accept|clicking)\b",
    r"(?:accept|manage|reject|cookie) (?:all )?(?:cookies?|settings|preferences|policy)\b.{0,20}$",
    r"share (?:on|via|this|with|to) \w+(?:\s\w+){0,3}\s?[.!:]?$",
    r"share (?:on|via) (?:facebook|twitter|linkedin|whatsapp|e?-?mail|pinterest|reddit)",
    r"(?:tweet|print|e-?mail|share) this(?: (?:article|page|story|post))?$",
    r"(?:facebook|twitter|linkedin|pinterest|whatsapp|reddit|instagram)"
    r"(?:[\s|,/•·]+(?:facebook|twitter|linkedin|pinterest|whatsapp|reddit|instagram|email|print"
    r"|tumblr|google\+|messenger|copy link|youtube)){1,9}$",
    r"(?:subscribe|sign up|register|log ?in|sign in) (?:now|today|here|to (?:our|the|get|read|comment"
    r"|continue|receive|leave|post|your|my)|for (?:our|the|free|a|an|your|full))\b",
    r"subscribe$",
    r"(?:get|receive) (?:the |our |breaking |daily |all |your )(?:latest |daily |top |free |morning )?"
    r"(?:news|updates?|headlines|stories|newsletter|alerts?)\b",
    r"(?:join|get) our (?:free |daily |weekly )?(?:newsletter|mailing list)",
    r"enter your e-?mail",
    r"follow (?:us|me|him|her) (?:on|@)",
    r"like us on facebook",
    r"(?:read|see|show|load|view) (?:more|all|also|next|the full (?:story|article))$",
    r"(?:continue reading|story continues|article continues)(?: below.{0,20})?$",
    r"(?:click|tap) here (?:to|for)\b",
    r"(?:skip to|back to|return to) (?:the )?(?:main )?(?:content|top|navigation|home(?:page)?)",
    r"(?:leave|post|add|write) (?:a|your) (?:comment|reply)",
    r"(?:\d+ )?comments?(?: \(\d+\))?$",
    r"(?:blog )?comments powered by",
    r"please enable javascript",
    r"(?:your|this) browser (?:does not|is not|isn't|doesn't) ",
    r"(?:advertisement|sponsored(?: (?:links?|content|by.{0,30}))?|advert)$",
    r"(?:terms (?:of (?:use|service)|(?:and|&) conditions)|privacy (?:policy|notice|statement)"
    r"|contact us|about us|site ?map|home)\s*(?:[|·•][\w&' ]{1,30}+){1,9}$",
    r"(?:terms of (?:use|service)|terms (?:and|&) conditions|privacy (?:policy|notice)|contact us"
    r"|site ?map)$",
    r"powered by (?:wordpress|disqus|blogger|drupal|vbulletin|phpbb)",
    r"(?:previous|next|older|newer) (?:post|article|story|page|entries|posts)s?$",
)
_BEGIN_ZH = (
    r"版权所有",
    r"(?:版权|著作权)(?:声明|说明)",
    r"copyright.{0,40}(?:版权|保留|公司)",
    r"(?:未经|未經).{0,12}(?:授权|许可|允许|同意|授權|許可|允許)",
    r"(?:转载|轉載)(?:请|請|须|需|時|时).{0,20}(?:注明|註明|联系|授权|出处|出處)",
    r"[\[(（【]?\s?(?:责任编辑|责编|責任編輯|責編|值班编辑|网络编辑)\s?[:：/]",
    r"(?:上一篇|下一篇|上一页|下一页|上一頁|下一頁|上一章|下一章|返回目录|返回首页|返回顶部|回到顶部)"
    r"(?:\s*[:：|>»].{0,60})?(?:\s.{0,40})?$",
    r"(?:微信|手机|用微信|打开微信|使用微信|请用微信|長按|长按|扫描|掃描|扫码|掃碼)?[，,]?.{0,4}"
    r"(?:扫一扫|掃一掃|扫描二维码|掃描二維碼|扫码|识别二维码|二维码).{0,24}$",
    r"分享(?:到|至|此文|本文)?\s?[:：]?\s?(?:微信|微博|qq|朋友圈|空间|好友|和|[\s、|,，/])*$",
    r"分享至好友和朋友圈$",
    r"(?:欢迎|敬请|请)?(?:点击|關注|关注).{0,16}(?:公众号|微信号|公眾號|官方微博|官方微信|客户端)",
    r"(?:打印|列印|关闭|關閉|收藏|举报|檢舉|纠错|投诉)(?:本页|本文|窗口|此页)?"
    r"(?:[\s|｜/·]+(?:打印|列印|关闭|關閉|收藏|举报|纠错|分享|返回|顶部)(?:本页|本文|窗口|此页)?){0,6}$",
    r"字(?:号|體|体|級)\s?[:：]?\s?(?:[大中小默认超特标准+\-a\s|/·]|打印|关闭)*$",
    r".{0,24}(?:icp备|icp證|icp证|公网安备|增值电信业务|网络视听许可证|互联网新闻信息服务许可)",
    r"(?:备案|許可證|许可证)(?:/许可证)?(?:号|號)",
    r"技术支持\s?[:：]",
    r"(?:特别声明|免责声明|版权声明|法律声明|郑重声明)\s?[:：]",
    r"(?:加入收藏|设为首页|設為首頁|网站地图|联系我们|关于我们|聯絡我們|關於我們|友情链接|广告服务|隐私政策"
    r"|服务条款|免责声明|诚聘英才|意见反馈|帮助中心)(?:[\s|｜·-]+[^\s|｜·-]{2,10}){0,12}$",
    r"(?:登录|登錄|注册|註冊|登录/注册|登录后|请登录|请先登录)(?:[\s|/]|后.{0,8})?.{0,6}$",
    r"(?:加载中|正在加载|加载更多|列表加载中|查看更多|点击查看更多|展开全文|阅读全文|阅读原文|查看原文"
    r"|已显示全部内容|点击加载更多).{0,6}$",
    r"(?:我要|发表|發表|写)(?:评论|跟[帖贴]|評論|留言)",
    r"(?:评论|跟贴|跟帖|網友評論|网友评论|最新评论|全部评论)\s?(?:[（(]\s?\d+\s?[）)]|\d+)?$",
    r"(?:广告|廣告|赞助商链接|推广|スポンサードリンク)$",
    r"(?:下载|打开|安装).{0,12}(?:app|客户端)(?:.{0,10})$",
    r".{0,8}(?:app下载|客户端下载)$",
    r"请自觉遵守.{0,12}(?:法律|法规|规定)",
    r"[^，。]{0,6}通行证(?:/[^，。]{1,8})?可以直接登录",
    r"百度百科内容由网友共同编辑",
)
# Where the site goes on with other things than this text.
_APPENDIX = re.compile(
    r"(?i:(?:related|recommended|popular|trending|similar|latest|more|top|other|recent|featured)"
    r" (?:articles?|stories|posts?|news|reading|links?|content|videos?|topics?|coverage|products?"
    r"|recipes?|headlines|from .{2,40}|in .{2,40}|on .{2,40}|like this|for you)"
    r"|you (?:may|might|'ll|will) (?:also )?(?:like|enjoy|be interested).{0,20}|our latest stories"
    r"|read (?:next|this next)|up next|also on .{2,40}|most (?:read|popular|viewed|shared|recent)"
    r"|(?:about the author|about author|editor'?s'? picks?|partner (?:news|content)|don'?t miss"
    r"|around the web|from around the web|promoted(?: stories| content)?|what to read next"
    r"|what others are reading|related|recommended|trending(?: now)?|(?:leave a )?comments?"
    r"|(?:\d+ )?(?:responses|thoughts|comments) (?:to|on) .{1,80}|leave a (?:reply|comment)"
    r"|tags|filed under|categories|share this.{0,20}|sharing is caring!?))\s?[:：»>]?$"
    r"|(?:相关|相關|推荐|推薦|热门|熱門|精彩|延伸|更多|最新|猜你|为您|為您|热点|猜您|其他|小编|大家都在|24小时|今日|本周|编辑)"
    r"(?:推荐|推薦|阅读|閱讀|新闻|新聞|文章|链接|鏈接|連結|话题|話題|内容|报道|報導|资讯|喜欢|喜歡|专题|最近文章|看"
    r"|热门|热文|热点|排行|精选|搜索|标签|视频|评论|图片|公告|软件|词条|了\d+篇文章){1,2}\s?[:：>》]*$"
    r"|(?:参考资料|參考資料|词条图册|词条标签|展开全部|图集|热新闻|热话题|态度原创|排行榜|阅读下一篇|下一篇|阅读排行|点击排行|網友評論|网友评论|评论区|参与评论|文章评论"
    r"|関連記事|おすすめ記事)\s?[:：>]*$"
)
_AGENCY = (
    r"(?:\(|\||©\s{0,2}|photo by |via )[^()|©]{0,40}(?:getty(?: images)?|reuters|shutterstock"
    r"|ap photo|associated press|afp|istock|alamy|unsplash|bloomberg)[^()|©]{0,40}\)?\W{0,3}$"
)
# Furniture in a page, perhaps text elsewhere.
_PAGE_EN = (
    r"(?:photo|image|picture|video|credit|source|graphic|illustration)s?(?: credit)?s?"
    r"(?: by (?-i:[A-Z])|\s?:| courtesy)",
    r"(?:image|photo|slide) \d+ (?:of|/)",
    r"(?:tweet|pin it|print|e-?mail|advertising|home|facebook|twitter|linkedin|pinterest|whatsapp)$",
    r"(?:caption|close|x|menu|search|gallery|play|pause|loading|slideshow|highlights|tags|share)\s?:?$",
    r"(?:file )?(?:photo|image)$",
    rf".{{0,110}}{_AGENCY}",
    r"©",
    r"by:? (?-i:[A-Z])[\w.'’-]+(?:(?:[ ,|]{1,3}| and )(?-i:[A-Z])[\w.'’-]*){0,6}$",
    r"(?:published|updated|posted|first published|last updated|last modified|published by)"
    r"(?: (?:on|at|by))?\s?:?\s?.{0,80}$",
    r"(?:read more|see also|related|also read|more|watch|listen|download|read also|see more)\s?[:|]",
    r"(?:read more|see more|show more)\b.{0,40}$",
    r"(?:follow|contact|email) .{2,60}(?:@|twitter|facebook)",
    r"(?:tags?|categor(?:y|ies|ias)|topics?|filed under|posted in|labels?)\s?:",
    r"(?:home|start|news) ?[>»/|] ?",
    r"\d+\s?(?:shares?|comments?|views?|likes?|min(?:ute)?s? read|hours? ago|days? ago)\b.{0,20}$",
    r"\d{1,2}[:.]\d\d ?(?:am|pm|a\.m\.|p\.m\.)?(?: \w{2,4})?$",
)
_PAGE_ZH = (
    r"(?:首页|首頁|您的位置|当前位置|你的位置|位置|您现在的位置|所在位置)\s?[:：>›»\-/]",
    r"[^>›»]{1,12}(?:[>›»]{1,2}[^>›»]{1,16}){1,5}$",
    r"(?:发布|發布|更新|发表|發表|提交|最后更新)(?:时间|時間|日期|于|於)?\s?[:：于]\s?.{0,80}$",
    r"(?:来源|來源|本文来源|文章来源|信息来源|稿件来源|原标题|原文标题|作者|编辑|校对|审核|记者|摄影|采写|来自|监制|主编)"
    r"\s?[:：].{0,40}$",
    r"[^，。]{0,12}(?:记者|通讯员|实习生|評論員|评论员)[\s:：]{1,2}[^，。]{2,24}$",
    r"[(（]?(?:原标题|原題|原题为|原文标题)\s?[:：].{0,100}$",
    r"(?:浏览|阅读|点击|访问|瀏覽)(?:次数|量|数)?\s?[:：]",
    r"[(（](?:责编|责任编辑|编辑|记者|来源|本文来自)\s?[:：]?.{0,60}[）)]$",
    r"(?:关键词|关键字|标签|關鍵字|標籤|TAG)\s?[:：>\s]",
    r"(?:图片来源|图/|图源|圖片來源|资料图|图为|视频来源)\s?[:：/]?.{0,60}$",
    r"(?:.{1,30}\s)?(?:摄|供图|图|制图|攝)$",
    r".{2,60}(?:供图|(?<!拍)摄|攝) [^\s，。]{2,10}$",
    r"(?:标签|標籤)$|词条图册\b",
    r"(?:简体|繁體|无障碍|EN|English|中文版)(?:[\s|]+[^\s|]{1,8}){0,4}$",
    r"推荐\d+$|\d+\s?跟贴.{0,12}$|T \+ -$|[+]?\s?加载更多.{0,6}$|站内$|更多精彩$|用户登录$|忘记密码",
    r"(?:返回|进入|点击进入).{0,20}(?:首页|频道|专题|>>|》)",
)
_WHOLE = (
    # a date, a time, with a place or a source beside it
    r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,? ?)?"
    r"(?:\d{1,2}(?:st|nd|rd|th)? )?(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]{0,6}\.?"
    r"(?: \d{1,2}(?:st|nd|rd|th)?)?,? ?(?:19|20)\d\d.{0,40}$",
    r"(?:19|20)\d\d[-/.年]\s?\d{1,2}[-/.月]\s?\d{1,2}日?.{0,40}$",
    r"\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d.{0,100}$",
    r"[\d\s.,:/|\-–—•·()%+*#×>»<«]*$",
)

_CREDIT = re.compile(rf"(?i:{_AGENCY})")
# Of lower-case text: ignoring case would take three times as long.
_BOILERPLATE = re.compile(rf"[\s|>]{{0,4}}+(?:{'|'.join((*_BEGIN_EN, *_BEGIN_ZH))})")
_FURNITURE = re.compile(rf"[\s•·*|>+-]{{0,4}}+(?i:{'|'.join((*_PAGE_EN, *_PAGE_ZH, *_WHOLE))})")


def is_boilerplate(line: str) -> bool:
    """Whether the line is a notice or button of a site, in whatever document it stands."""
    return len(line) <= LONGEST and _BOILERPLATE.match(line.lower()) is not None


def is_page_furniture(line: str) -> bool:
    """Whether the line is such a thing, or a caption, byline, date or menu of a web page."""
    if len(line) > LONGEST:
        return len(line) <= LONGEST_CAPTION and _CREDIT.search(line, len(line) - 80) is not None
    return _BOILERPLATE.match(line.lower()) is not None or _FURNITURE.match(line) is not None


def starts_appendix(line: str) -> bool:
    """Whether the line is the heading of teasers, comments or the like."""
    return len(line) <= LONGEST and _APPENDIX.match(line.strip()) is not None
