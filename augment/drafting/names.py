"""What columns and labels are called, in the languages of shops."""

from __future__ import annotations

import re
import unicodedata

from augment.drafting.look import Column

# Role → names a column of it goes by, most telling first: compared by `plain`, so that userId is user_id.
NAMES = {
    "user": """user_id user customer_id customer member_id visitor_id visitor user_pseudo_id reviewer_id reviewer
        client_id buyer_id buyer shopper_id household_id household
        account_id uid 用户 用户id 用户编号 会员 会员id 顾客 nutzer nutzer_id
        benutzer benutzer_id kunde kunden_id kundennummer kundennr client id_client client_no utilisateur
        id_utilisateur usuario id_usuario usuario_id cliente id_cliente cliente_id utente id_utente klant klant_id
        gebruiker klient ユーザー ユーザーid 顧客 顧客id 고객 고객id 사용자 пользователь клиент покупатель müşteri
        kullanıcı session_id session""",
    "item": """item_id item product_id product sku asin movie_id ad_id article_id stock_code goods_id iid book_id
        track_id video_id lineitem_sku 商品 商品id 商品编号 产品 artikel artikel_id artikelnummer artikelnr produkt
        produkt_id article id_article produit id_produit producto id_producto producto_id articulo artículo
        prodotto id_prodotto prodotto_id produto id_produto produto_id 商品コード アイテム 상품 상품id товар
        артикул ürün""",
    "timestamp": """timestamp time ts event_time event_timestamp datetime date_time date created_at created
        order_date purchase_date invoice_date review_date review_time review_timestamp unix_review_time event_date
        时间 日期 zeit zeitpunkt zeitstempel datum date_achat date_commande fecha fecha_hora data 日時 日付 날짜
        시간 время дата tarih""",
    "text": """text review_text review review_body review_content body comment comments content feedback 评论
        评论内容 评价 评价内容 内容 rezension bewertungstext kommentar avis commentaire comentario comentário
        reseña opinión recensione commento recensie レビュー 口コミ 本文 리뷰 отзыв комментарий текст yorum
        bewertung""",
    "segment": """category segment department class_name genre product_category 类别 品类 kategorie catégorie
        categoria categoría categorie カテゴリ 카테고리 категория""",
}
CLICKS = """label click clicked is_click target converted purchase is_purchase y purchased bought 点击
是否点击 klick geklickt gekauft clic cliqué acheté clicado comprado クリック 클릭 клик"""
OPINIONS = """label sentiment polarity rating stars score overall target star_rating review_rating review_score
标签 评分 星级 情感 sterne bewertung étoiles valoración puntuación calificación estrellas valutazione stelle voto
avaliação nota estrelas beoordeling sterren 評価 평점 별점 оценка рейтинг puan note"""
GOOD = """positive pos good great like liked love happy satisfied recommended recommend yes click clicked purchase
purchased bought 👍 正面 好评 积极 好 是 gut positiv ja oui bon bonne positif bueno buena positivo positiva sí si
buono buona bom boa sim goed positief はい 良い ポジティブ 예 긍정 позитивный хорошо положительный да tak evet
olumlu"""
LETTERS = {"p": "n"}  # one letter for good → for bad, where a column has these two alone

_EVENTS = """event transaction order purchase sale payment invoice click view visit session checkout review rating"""
_WHEN = re.compile(rf"(.*)_(timestamp|datetime)|({'|'.join(_EVENTS.split())})_.*?(date|time|at|ts|day)")
_STARS = re.compile(r"[★⭐🌟☆✩\ufe0f ]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


def plain(name: str) -> str:
    """A name as names are compared, by its letters and digits alone: those of userId, user_id and `User ID` agree."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(filter(str.isalnum, folded)) or folded.strip()


def among(name: str, names: str) -> bool:
    """Whether a column's name is one of these."""
    return plain(name) in map(plain, names.split())


def every_named(columns: dict[str, Column], names: str) -> list[Column]:
    """The columns that have one of these names, the most telling name first."""
    by_name = {plain(name): column for name, column in reversed(columns.items())}
    return [by_name[name] for name in dict.fromkeys(map(plain, names.split())) if name in by_name]


def times(columns: dict[str, Column]) -> list[Column]:
    """Those that may say when, the most telling name first; last those called like purchase_timestamp or click_date."""
    words = {name: re.sub(r"(?<=[a-z])(?=[A-Z])|\W+", "_", name).lower() for name in columns}
    alike = [column for name, column in columns.items() if _WHEN.fullmatch(words[name])]
    known = every_named(columns, NAMES["timestamp"])
    return [*known, *(column for column in alike if column not in known)]


def named(columns: dict[str, Column], names: str, chosen: str | None = None) -> Column | None:
    """The column that the user chose, or the first that has one of these names."""
    if chosen is None:
        return next(iter(every_named(columns, names)), None)
    by_name = {plain(name): column for name, column in reversed(columns.items())}
    return columns.get(chosen) or by_name.get(plain(chosen))


def rating(word: str) -> tuple[str, float] | None:
    """What a label says beside its number, and the number: of `4 out of 5 stars`, `4/5`, `★★★★☆`; None for others."""
    if word and _STARS.fullmatch(word):
        return "★", float(sum(map(word.count, "★⭐🌟")))
    number = _NUMBER.search(word)
    if number is None:
        return None
    beside = f"{word[: number.start()]}#{word[number.end() :]}".casefold()
    return re.sub(r"s\b", "", beside), float(number[0].replace(",", "."))
